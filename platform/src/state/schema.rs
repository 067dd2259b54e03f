//! The tables, and how a file gets to the newest form of them: forward only, one transaction each.

use super::StateError;
use rusqlite::{Connection, OpenFlags};
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Step n brings a file from version n to n + 1. Steps are never edited once released.
const MIGRATIONS: [&str; 6] = [V1, V2, V3, V4, V5, V6];

const V1: &str = "
CREATE TABLE accounts (
    id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL);
CREATE TABLE tokens (
    id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts, hash BLOB NOT NULL UNIQUE,
    description TEXT NOT NULL, created_ms INTEGER NOT NULL, expires_ms INTEGER);
CREATE TABLE apps (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL REFERENCES accounts,
    uid INTEGER NOT NULL UNIQUE, maintenance INTEGER NOT NULL DEFAULT 0,
    current INTEGER, candidate INTEGER,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL);
CREATE TABLE uids (next INTEGER NOT NULL);
INSERT INTO uids VALUES (200000);
CREATE TABLE collaborators (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    account TEXT NOT NULL REFERENCES accounts, created_ms INTEGER NOT NULL, UNIQUE (app, account));
CREATE TABLE slugs (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    digest TEXT, diff_id TEXT, bytes INTEGER, commit_id TEXT, stack TEXT NOT NULL,
    process_types TEXT NOT NULL, buildpacks TEXT NOT NULL, config_defaults TEXT NOT NULL,
    upload_token TEXT, created_ms INTEGER NOT NULL);
CREATE TABLE releases (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    version INTEGER NOT NULL, slug TEXT REFERENCES slugs, config BLOB NOT NULL,
    description TEXT NOT NULL, status TEXT NOT NULL, failure TEXT, phase TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES accounts, output TEXT,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, UNIQUE (app, version));
CREATE TABLE formation (
    app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, type TEXT NOT NULL,
    id TEXT NOT NULL, quantity INTEGER NOT NULL, size TEXT NOT NULL,
    restarts INTEGER NOT NULL DEFAULT 0, updated_ms INTEGER NOT NULL, PRIMARY KEY (app, type));
CREATE TABLE restarts (
    app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, dyno TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (app, dyno));
CREATE TABLE builds (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    account TEXT NOT NULL REFERENCES accounts, status TEXT NOT NULL, source_version TEXT NOT NULL,
    buildpacks TEXT NOT NULL, stack TEXT NOT NULL, slug TEXT, release TEXT, output_token TEXT NOT NULL,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL);
CREATE TABLE oneoffs (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, name TEXT NOT NULL,
    type TEXT NOT NULL, command TEXT NOT NULL, size TEXT NOT NULL, release INTEGER NOT NULL,
    attached INTEGER NOT NULL, state TEXT NOT NULL, status INTEGER, account TEXT NOT NULL,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, UNIQUE (app, name));
CREATE TABLE domains (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    hostname TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL);
CREATE TABLE drains (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    url BLOB NOT NULL, token TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL);
CREATE TABLE buildpacks (
    app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, ordinal INTEGER NOT NULL,
    url TEXT NOT NULL, PRIMARY KEY (app, ordinal));
CREATE TABLE sources (
    id TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, app TEXT REFERENCES apps ON DELETE CASCADE,
    created_ms INTEGER NOT NULL);
";

/// What a slug was made from.
const V2: &str = "ALTER TABLE slugs ADD COLUMN inputs TEXT;";

/// What apps' owners have switched on.
const V3: &str = "
CREATE TABLE features (
    app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, name TEXT NOT NULL,
    since_ms INTEGER NOT NULL, PRIMARY KEY (app, name));
";

/// The app whose releases are versions of the platform: one at most.
const V4: &str = "
ALTER TABLE apps ADD COLUMN system INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX one_system_app ON apps (system) WHERE system = 1;
";

/// What each release has passed, and when: a list in JSON.
const V5: &str = "ALTER TABLE releases ADD COLUMN steps TEXT NOT NULL DEFAULT '[]';";

/// Certificates of apps: given, or issued by an authority for one of their names.
const V6: &str = "
CREATE TABLE certificates (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    name TEXT NOT NULL UNIQUE, chain TEXT NOT NULL, key BLOB NOT NULL, issued_for TEXT,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, UNIQUE (app, issued_for));
ALTER TABLE domains ADD COLUMN certificate TEXT REFERENCES certificates ON DELETE SET NULL;
ALTER TABLE apps ADD COLUMN acm INTEGER NOT NULL DEFAULT 0;
CREATE TABLE acm (
    app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, hostname TEXT NOT NULL,
    status TEXT NOT NULL, reason TEXT, failures INTEGER NOT NULL, next_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL, PRIMARY KEY (app, hostname));
CREATE TABLE acme_accounts (directory TEXT PRIMARY KEY, credentials BLOB NOT NULL);
";

pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The newest schema this program knows.
#[expect(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub const SCHEMA: i64 = MIGRATIONS.len() as i64;

/// What a state file is like, as it lies there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    Missing,
    Sound { schema: i64 },
    Damaged { detail: String },
    Newer { found: i64, known: i64 },
}

/// Looks at a state file and changes nothing.
pub fn examine(path: &Path) -> Health {
    if !path.exists() {
        return Health::Missing;
    }
    let read = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let schema: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok::<_, rusqlite::Error>((damage(&connection), schema))
    };
    match read() {
        Err(error) => Health::Damaged { detail: error.to_string() },
        Ok((Some(detail), _)) => Health::Damaged { detail },
        Ok((None, found)) if found > SCHEMA => Health::Newer { found, known: SCHEMA },
        Ok((None, schema)) => Health::Sound { schema },
    }
}

/// Refuses what `open` would bring to another schema.
pub(super) fn check_current(path: &Path) -> Result<(), StateError> {
    match examine(path) {
        Health::Sound { schema: found } if found < SCHEMA => {
            Err(StateError::Older { path: path.to_owned(), found, known: SCHEMA })
        }
        _ => Ok(()),
    }
}

pub(super) fn open(path: &Path) -> Result<Connection, StateError> {
    let failed = |source| StateError::Open { path: path.to_owned(), source };
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )
    .map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    if let Some(detail) = damage(&connection) {
        return Err(StateError::Damaged { path: path.to_owned(), detail });
    }
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
        )
        .map_err(failed)?;
    migrate(&mut connection, path, &MIGRATIONS)?;
    Ok(connection)
}

/// What is wrong with a file, if anything is.
pub(super) fn damage(connection: &Connection) -> Option<String> {
    let checked = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    let detail: String = checked.unwrap_or_else(|error| error.to_string());
    // It begins with a line of its own in which database.
    (detail != "ok").then(|| detail.lines().last().unwrap_or_default().to_owned())
}

/// Writes what a connection sees at this moment to a new file, durably.
pub(super) fn copy(connection: &Connection, to: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Copy { path: to.to_owned(), source };
    let temp = to.with_extension("new");
    match std::fs::remove_file(&temp) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // Made by us, so that nobody else can read it: secrets are in it, though sealed.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp);
    drop(made.map_err(failed)?);
    connection.execute("VACUUM INTO ?1", [temp.to_string_lossy()])?;
    lathe_slug::fs::publish(&temp, to).map_err(failed)
}

/// Forward only. Whatever goes wrong, the file from before the first step is kept beside it.
fn migrate(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StateError> {
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(StateError::Newer { path: path.to_owned(), found, known });
    }
    if (1..known).contains(&found) {
        copy(connection, &before(path, found))?;
    }
    for (version, step) in (1..).zip(steps).skip(usize::try_from(found).unwrap_or(0)) {
        let tx = connection.transaction()?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

/// `state.schema-1.db`: the state as it was before it left that schema.
fn before(path: &Path, schema: i64) -> PathBuf {
    path.with_extension(format!("schema-{schema}.db"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn refuses_what_is_damaged_or_newer_and_leaves_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        assert_eq!(examine(&path), Health::Missing);
        drop(open(&path).unwrap());
        assert_eq!(examine(&path), Health::Sound { schema: SCHEMA });
        open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(open(&path), Err(StateError::Newer { found: 99, .. })));
        assert_eq!(examine(&path), Health::Newer { found: 99, known: SCHEMA });

        let path = dir.path().join("damaged.db");
        fs::write(&path, b"not a database at all, and longer than a header ".repeat(40)).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(open(&path), Err(StateError::Damaged { .. })));
        assert!(matches!(examine(&path), Health::Damaged { .. }));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_migration_keeps_the_file_from_before_it_and_a_failed_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let mut connection = Connection::open(&path).unwrap();
        migrate(&mut connection, &path, &["CREATE TABLE a (x); INSERT INTO a VALUES (7);"])
            .unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing to keep");

        let good = "ALTER TABLE a ADD COLUMN y";
        let steps = ["", good, "CREATE TABLE b (x); NONSENSE"];
        assert!(migrate(&mut connection, &path, &steps).is_err());
        let version = |connection: &Connection| -> i64 {
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
        };
        assert_eq!(version(&connection), 2, "each step is whole or not at all");
        assert!(connection.query_row("SELECT count(*) FROM b", [], |_| Ok(())).is_err());

        let kept = before(&path, 1);
        let old = Connection::open(&kept).unwrap();
        assert_eq!(version(&old), 1);
        let x: i64 = old.query_row("SELECT x FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(x, 7);
        assert!(old.query_row("SELECT y FROM a", [], |_| Ok(())).is_err());
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        // The older program on what the newer has made.
        assert!(matches!(
            migrate(&mut connection, &path, &steps[..1]),
            Err(StateError::Newer { found: 2, known: 1, .. })
        ));
    }
}
