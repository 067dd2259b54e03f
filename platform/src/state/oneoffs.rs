//! One-off dynos: each is started once, never twice, and never restarted.

use super::model::{OneOff, OneOffState};
use super::{StateError, Tx, ms, time};
use rusqlite::{OptionalExtension, Row, params};

/// A one-off about to be recorded; `id` becomes the dyno's identity.
#[derive(Clone, Debug)]
pub struct NewOneOff {
    pub id: String,
    /// The part before the number: `run`, `release`, or a process type.
    pub process_type: String,
    pub command: String,
    pub size: String,
    pub release: u32,
    pub attached: bool,
    pub account: String,
}

/// Names of Heroku's one-offs are `run.<1 to 9999>`; `seed` chooses, the next free number wins.
pub fn create(tx: &Tx<'_>, app: &str, new: &NewOneOff, seed: u32) -> Result<OneOff, StateError> {
    let prefix = &new.process_type;
    let number = (0..9999)
        .map(|step| (seed.wrapping_add(step)) % 9999 + 1)
        .find(|number| !exists(tx, app, &format!("{prefix}.{number}")))
        .ok_or_else(|| StateError::Refused("too many one-off dynos of this app".into()))?;
    tx.sql.execute(
        "INSERT INTO oneoffs (id, app, name, type, command, size, release, attached, state, \
         account, created_ms, updated_ms) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,'starting',?9,?10,?10)",
        params![
            new.id,
            app,
            format!("{prefix}.{number}"),
            new.process_type,
            new.command,
            new.size,
            new.release,
            new.attached,
            new.account,
            ms(tx.now)
        ],
    )?;
    by_identity(tx, app, &new.id)
}

fn exists(tx: &Tx<'_>, app: &str, name: &str) -> bool {
    tx.sql
        .query_row("SELECT 1 FROM oneoffs WHERE app = ?1 AND name = ?2", [app, name], |_| Ok(()))
        .is_ok()
}

/// Whether it is recorded and has neither run nor been withdrawn.
pub fn is_starting(tx: &Tx<'_>, id: &str) -> Result<bool, StateError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM oneoffs WHERE id = ?1 AND state = 'starting')";
    Ok(tx.sql.query_row(sql, [id], |row| row.get(0))?)
}

pub fn set_up(tx: &Tx<'_>, id: &str) -> Result<(), StateError> {
    tx.sql.execute(
        "UPDATE oneoffs SET state = 'up', updated_ms = ?2 WHERE id = ?1 AND state = 'starting'",
        params![id, ms(tx.now)],
    )?;
    Ok(())
}

/// The one-off has ended; its name is free again after it is collected.
pub fn complete(tx: &Tx<'_>, id: &str, status: u8) -> Result<(), StateError> {
    tx.sql.execute(
        "UPDATE oneoffs SET state = 'complete', status = ?2, updated_ms = ?3 WHERE id = ?1",
        params![id, status, ms(tx.now)],
    )?;
    Ok(())
}

/// Forgets one-offs that ended before `before_ms`, so the table stays bounded.
pub fn collect(tx: &Tx<'_>, before_ms: i64) -> Result<usize, StateError> {
    let sql = "DELETE FROM oneoffs WHERE state = 'complete' AND updated_ms < ?1";
    Ok(tx.sql.execute(sql, [before_ms])?)
}

/// By id or name.
pub fn by_identity(tx: &Tx<'_>, app: &str, identity: &str) -> Result<OneOff, StateError> {
    let sql = format!("{ONEOFFS} WHERE app = ?1 AND (id = ?2 OR name = ?2)");
    tx.sql.query_row(&sql, [app, identity], oneoff_of).map_err(StateError::missing("dyno"))
}

/// None when nothing of that id is recorded.
pub fn find(tx: &Tx<'_>, id: &str) -> Result<Option<OneOff>, StateError> {
    let sql = format!("{ONEOFFS} WHERE id = ?1");
    Ok(tx.sql.query_row(&sql, [id], oneoff_of).optional()?)
}

/// As if it had not been recorded: for one that was never started.
pub fn withdraw(tx: &Tx<'_>, id: &str) -> Result<(), StateError> {
    tx.sql.execute("DELETE FROM oneoffs WHERE id = ?1", [id])?;
    Ok(())
}

/// Identities of the release commands of an app's releases before `version` that have not ended.
/// Each has its release's id: by type it could be one that somebody runs by hand.
pub fn phases_before(tx: &Tx<'_>, app: &str, version: u32) -> Result<Vec<String>, StateError> {
    let mut statement = tx.sql.prepare(
        "SELECT o.id FROM oneoffs o JOIN releases r ON r.id = o.id \
         WHERE o.app = ?1 AND r.version < ?2 AND o.state <> 'complete'",
    )?;
    let rows = statement.query_map(params![app, version], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those that have not ended, of every app.
pub fn running(tx: &Tx<'_>) -> Result<Vec<OneOff>, StateError> {
    let mut statement =
        tx.sql.prepare(&format!("{ONEOFFS} WHERE state <> 'complete' ORDER BY created_ms"))?;
    let rows = statement.query_map([], oneoff_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of every app of which something was recorded then or later, Unix milliseconds; also those
/// that have ended and are not collected yet.
pub fn changed(tx: &Tx<'_>, since_ms: i64) -> Result<Vec<OneOff>, StateError> {
    let mut statement = tx.sql.prepare(&format!("{ONEOFFS} WHERE updated_ms >= ?1"))?;
    let rows = statement.query_map([since_ms], oneoff_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const ONEOFFS: &str = "SELECT id, app, name, type, command, size, release, attached, state, \
    status, created_ms, updated_ms FROM oneoffs";

fn oneoff_of(row: &Row<'_>) -> rusqlite::Result<OneOff> {
    Ok(OneOff {
        id: row.get(0)?,
        app: row.get(1)?,
        name: row.get(2)?,
        process_type: row.get(3)?,
        command: row.get(4)?,
        size: row.get(5)?,
        release: row.get(6)?,
        attached: row.get(7)?,
        state: row.get::<_, OneOffState>(8)?,
        status: row.get(9)?,
        created_at: time(row.get(10)?),
        updated_at: time(row.get(11)?),
    })
}
