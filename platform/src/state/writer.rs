//! The one connection to the state file, and what is done when its disk fails.
//!
//! After a failed sync the kernel takes the pages for written although they are not, and says so
//! only once (A. Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
//! So a transaction that met one is in doubt, and nothing is written behind it: first everything
//! that was acknowledged moves from the log into the file, with syncs of its own, which empties the
//! log of what was not; then the file is opened anew and looked through, as at a start.

use super::secrets::Secrets;
use super::{StateError, Tx, now, schema};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows come and go with every one-off dyno; nothing that runs for longer depends on them.
const ONE_OFFS: &str = "oneoffs";

#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    connection: Connection,
    secrets: Secrets,
    /// Nothing is written while it is set.
    in_doubt: bool,
    /// Something else than one-offs was written, as the connection says.
    apps_touched: Arc<AtomicBool>,
}

impl Writer {
    /// Opens or creates the state below `dir`.
    pub(super) fn open(dir: &Path) -> Result<Self, StateError> {
        let secrets = Secrets::of(dir)?;
        let path = dir.join("state.db");
        let apps_touched = Arc::default();
        let connection = open(&path, &apps_touched)?;
        Ok(Self { path, connection, secrets, in_doubt: false, apps_touched })
    }

    /// Whether anything else than one-offs was written since this was last asked.
    pub(super) fn take_apps_touched(&self) -> bool {
        self.apps_touched.swap(false, Ordering::Relaxed)
    }

    /// One transaction, durable when this returns.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        if self.in_doubt {
            self.mend()?;
        }
        match self.transact(work) {
            Err(StateError::Database(source)) if is_of_the_disk(&source) => {
                self.in_doubt = true;
                tracing::error!(
                    error = &source as &dyn std::error::Error,
                    "the disk of the state fails: nothing is written until the state was checked"
                );
                // At once, so that one failure costs one operation; if it fails, with each write.
                drop(self.mend());
                Err(StateError::Unknown(source))
            }
            result => result,
        }
    }

    /// One consistent view. It is that of the last sound commit, also while writes are in doubt.
    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let sql = self.connection.transaction()?;
        // Dropped without commit: whatever a reader wrote by mistake is rolled back.
        work(&Tx { sql, secrets: &self.secrets, now: now() })
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let sql = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tx = Tx { sql, secrets: &self.secrets, now: now() };
        let value = work(&tx)?;
        tx.sql.commit()?;
        Ok(value)
    }

    fn mend(&mut self) -> Result<(), StateError> {
        self.checked().inspect(|()| tracing::warn!("the state is sound and written again")).map_err(
            |source| {
                tracing::error!(
                    error = &source as &dyn std::error::Error,
                    "the state could not be checked: nothing is written"
                );
                StateError::InDoubt { path: self.path.clone(), source: Box::new(source) }
            },
        )
    }

    fn checked(&mut self) -> Result<(), StateError> {
        // By this connection: it knows where the last sound commit ends, a new one would not.
        let blocked: bool =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if blocked {
            return Err(StateError::Busy);
        }
        self.connection = open(&self.path, &self.apps_touched)?;
        self.in_doubt = false;
        Ok(())
    }
}

fn open(path: &Path, apps_touched: &Arc<AtomicBool>) -> Result<Connection, StateError> {
    let (connection, touched) = (schema::open(path)?, Arc::clone(apps_touched));
    connection.update_hook(Some(move |_, _: &str, table: &str, _| {
        if table != ONE_OFFS {
            touched.store(true, Ordering::Relaxed);
        }
    }))?;
    Ok(connection)
}

/// Unlike a full disk, which `SQLite` meets before it writes, and rolls back.
fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}
