//! What an app's owner can switch on and off (Heroku's labs), by a closed list.

use super::model::Feature;
use super::{StateError, Tx, ms, time};
use rusqlite::{OptionalExtension, params};

/// What each dyno uses is told in the app's log, every 20 seconds.
pub const LOG_RUNTIME_METRICS: &str = "log-runtime-metrics";

const FEATURES: [&str; 1] = [LOG_RUNTIME_METRICS];

pub fn of_app(tx: &Tx<'_>, app: &str) -> Result<Vec<Feature>, StateError> {
    FEATURES.iter().map(|name| named(tx, app, name)).collect()
}

pub fn named(tx: &Tx<'_>, app: &str, name: &str) -> Result<Feature, StateError> {
    let name = FEATURES.iter().find(|known| **known == name);
    let name = *name.ok_or(StateError::NotFound("app feature"))?;
    let sql = "SELECT since_ms FROM features WHERE app = ?1 AND name = ?2";
    let since = tx.sql.query_row(sql, [app, name], |row| row.get(0)).optional()?;
    Ok(Feature { name, enabled_at: since.map(time) })
}

/// Switching on what is on changes nothing.
pub fn set(tx: &Tx<'_>, app: &str, name: &str, enabled: bool) -> Result<Feature, StateError> {
    let name = named(tx, app, name)?.name;
    if enabled {
        let sql = "INSERT OR IGNORE INTO features VALUES (?1, ?2, ?3)";
        tx.sql.execute(sql, params![app, name, ms(tx.now)])?;
    } else {
        tx.sql.execute("DELETE FROM features WHERE app = ?1 AND name = ?2", [app, name])?;
    }
    named(tx, app, name)
}
