//! Automatic certificates: which apps want them, and how far each of their names has come.

use super::model::{AcmStatus, Progress};
use super::{StateError, Tx, certificates, ms, time};
use rusqlite::{OptionalExtension, Row, params};

const PROGRESS: &str =
    "SELECT app, hostname, status, reason, failures, next_ms, updated_ms FROM acm";

/// Switched off, what was issued goes too: nobody would renew it.
pub fn switch(tx: &Tx<'_>, app: &str, on: bool) -> Result<(), StateError> {
    tx.sql.execute(
        "UPDATE apps SET acm = ?1, updated_ms = ?2 WHERE id = ?3",
        params![on, ms(tx.now), app],
    )?;
    if on {
        return refresh(tx, app);
    }
    tx.sql.execute("DELETE FROM acm WHERE app = ?1", [app])?;
    certificates::remove_issued(tx, app, |_| false)
}

/// Every name of the app that waits is tried now, as for the first time.
pub fn refresh(tx: &Tx<'_>, app: &str) -> Result<(), StateError> {
    tx.sql.execute("UPDATE acm SET failures = 0, next_ms = 0 WHERE app = ?1", [app])?;
    Ok(())
}

pub fn of_app(tx: &Tx<'_>, app: &str) -> Result<Vec<Progress>, StateError> {
    let mut statement = tx.sql.prepare(&format!("{PROGRESS} WHERE app = ?1 ORDER BY hostname"))?;
    let rows = statement.query_map([app], progress_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Unless the name or the app's wish is gone meanwhile.
pub fn note(tx: &Tx<'_>, progress: &Progress) -> Result<(), StateError> {
    let Progress { app, hostname, status, reason, failures, next_at, .. } = progress;
    tx.sql.execute(
        "INSERT OR REPLACE INTO acm SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 \
         FROM apps WHERE id = ?1 AND acm = 1",
        params![app, hostname, status, reason, failures, ms(*next_at), ms(tx.now)],
    )?;
    Ok(())
}

/// Forgets names that `keep` does not want any more, and what was issued for them.
pub fn forget(tx: &Tx<'_>, app: &str, keep: impl Fn(&str) -> bool) -> Result<(), StateError> {
    for one in of_app(tx, app)?.iter().filter(|one| !keep(&one.hostname)) {
        tx.sql.execute("DELETE FROM acm WHERE app = ?1 AND hostname = ?2", [app, &one.hostname])?;
    }
    certificates::remove_issued(tx, app, keep)
}

fn progress_of(row: &Row<'_>) -> rusqlite::Result<Progress> {
    Ok(Progress {
        app: row.get(0)?,
        hostname: row.get(1)?,
        status: row.get::<_, AcmStatus>(2)?,
        reason: row.get(3)?,
        failures: row.get(4)?,
        next_at: time(row.get(5)?),
        updated_at: time(row.get(6)?),
    })
}

/// Our account with the authority of this directory, in the words of who made it.
pub fn account(tx: &Tx<'_>, directory: &str) -> Result<Option<Vec<u8>>, StateError> {
    let sql = "SELECT credentials FROM acme_accounts WHERE directory = ?1";
    let sealed: Option<Vec<u8>> =
        tx.sql.query_row(sql, [directory], |row| row.get(0)).optional()?;
    sealed.map(|sealed| tx.secrets.open_sealed(directory, &sealed)).transpose()
}

pub fn keep_account(tx: &Tx<'_>, directory: &str, credentials: &[u8]) -> Result<(), StateError> {
    tx.sql.execute(
        "INSERT OR REPLACE INTO acme_accounts VALUES (?1, ?2)",
        params![directory, tx.secrets.seal(directory, credentials)],
    )?;
    Ok(())
}

/// The authority does not know it any more.
pub fn drop_account(tx: &Tx<'_>, directory: &str) -> Result<(), StateError> {
    tx.sql.execute("DELETE FROM acme_accounts WHERE directory = ?1", [directory])?;
    Ok(())
}
