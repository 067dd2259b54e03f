//! A copy of the state at one moment, made while the platform writes on, and what is in it.

use super::{StateError, schema};
use lathe_slug::SlugId;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

#[derive(Debug)]
pub struct Copied {
    connection: Connection,
}

impl Copied {
    /// Copies the state below `dir` to a new file. The writer is not held up: it appends to its log
    /// meanwhile. A copy of damage is refused.
    pub fn make(dir: &Path, to: &Path) -> Result<Self, StateError> {
        let from = dir.join("state.db");
        let failed = |source| StateError::Open { path: from.clone(), source };
        let open =
            |path: &Path| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
        let connection = open(&from).map_err(failed)?;
        connection.busy_timeout(schema::BUSY_TIMEOUT).map_err(failed)?;
        schema::copy(&connection, to)?;
        let connection = open(to).map_err(failed)?;
        match schema::damage(&connection) {
            Some(detail) => Err(StateError::Damaged { path: from, detail }),
            None => Ok(Self { connection }),
        }
    }

    pub fn schema(&self) -> Result<i64, StateError> {
        Ok(self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
    }

    /// The ids of all apps.
    pub fn apps(&self) -> Result<Vec<String>, StateError> {
        self.texts("SELECT id FROM apps ORDER BY id", "")
    }

    pub fn slugs(&self) -> Result<Vec<SlugId>, StateError> {
        let sql = "SELECT DISTINCT digest FROM slugs WHERE digest IS NOT NULL ORDER BY digest";
        Ok(self.texts(sql, "")?.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// What the slugs of an app were built from; not all of it are commits.
    pub fn commits(&self, app: &str) -> Result<Vec<String>, StateError> {
        self.texts(
            "SELECT DISTINCT commit_id FROM slugs WHERE app = ?1 AND commit_id IS NOT NULL",
            app,
        )
    }

    /// Digests of the stacks that the slugs run on.
    pub fn stacks(&self) -> Result<Vec<String>, StateError> {
        self.texts("SELECT DISTINCT stack FROM slugs ORDER BY stack", "")
    }

    fn texts(&self, sql: &str, parameter: &str) -> Result<Vec<String>, StateError> {
        let mut statement = self.connection.prepare(sql)?;
        let parameters: &[&str] = if parameter.is_empty() { &[] } else { &[parameter] };
        let rows = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
