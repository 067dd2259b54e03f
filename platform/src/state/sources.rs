//! Source uploads: a place that a tarball can be put to and a build can take it from.

use super::secrets::random_token;
use super::{StateError, Tx, ms};
use rusqlite::params;
use uuid::Uuid;

/// Makes a place and the secret that its URL carries.
pub fn create(tx: &Tx<'_>, app: Option<&str>) -> Result<String, StateError> {
    let token = random_token("");
    tx.sql.execute(
        "INSERT INTO sources VALUES (?1, ?2, ?3, ?4)",
        params![Uuid::new_v4().to_string(), token, app, ms(tx.now)],
    )?;
    Ok(token)
}

/// Whether such a place was made.
pub fn exists(tx: &Tx<'_>, token: &str) -> Result<bool, StateError> {
    let sql = "SELECT COUNT(*) FROM sources WHERE token = ?1";
    Ok(tx.sql.query_row(sql, [token], |row| row.get::<_, i64>(0))? > 0)
}

/// Forgets places made before `before_ms`.
pub fn collect(tx: &Tx<'_>, before_ms: i64) -> Result<usize, StateError> {
    Ok(tx.sql.execute("DELETE FROM sources WHERE created_ms < ?1", [before_ms])?)
}
