//! Which buildpacks an app asked for, in order.

use super::{StateError, Tx};
use rusqlite::params;

/// More than anybody chains, few enough to list.
const BUILDPACKS_MAX: usize = 20;

pub fn of_app(tx: &Tx<'_>, app: &str) -> Result<Vec<String>, StateError> {
    let sql = "SELECT url FROM buildpacks WHERE app = ?1 ORDER BY ordinal";
    let mut statement = tx.sql.prepare(sql)?;
    let rows = statement.query_map([app], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Replaces the whole list.
pub fn set(tx: &Tx<'_>, app: &str, urls: &[String]) -> Result<(), StateError> {
    if urls.len() > BUILDPACKS_MAX {
        return Err(StateError::Refused(format!(
            "an app can have {BUILDPACKS_MAX} buildpacks at most"
        )));
    }
    tx.sql.execute("DELETE FROM buildpacks WHERE app = ?1", [app])?;
    for (ordinal, url) in urls.iter().enumerate() {
        tx.sql.execute(
            "INSERT INTO buildpacks VALUES (?1, ?2, ?3)",
            params![app, i64::try_from(ordinal).unwrap_or(i64::MAX), url],
        )?;
    }
    Ok(())
}
