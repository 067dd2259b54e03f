//! The one connection to the state file, and what is done when its disk fails.
//!
//! After a failed sync the kernel takes the pages for written although they are not, and says so
//! only once (A. Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
//! So a transaction that met one is in doubt, and nothing is written behind it: first everything
//! that was acknowledged moves from the log into the file, with syncs of its own, which empties the
//! log of what was not; then the file is opened anew and looked through, as at a start.

use super::batch::{Made, Write};
use super::secrets::Secrets;
use super::{StateError, Statements, Tx, now, schema, statements};
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

/// Why a transaction did not come through, for each who had a part in it.
#[derive(Clone, Debug)]
pub(super) enum Lost {
    /// Before anything was tried.
    InDoubt {
        path: PathBuf,
        source: Arc<StateError>,
    },
    Unknown(Arc<rusqlite::Error>),
    RolledBack(Arc<rusqlite::Error>),
}

impl From<Lost> for StateError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::InDoubt { path, source } => Self::InDoubt { path, source },
            Lost::Unknown(source) => Self::Unknown(source),
            Lost::RolledBack(source) => Self::NotWritten(source),
        }
    }
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

    /// One transaction for all of them, durable when this returns.
    pub(super) fn write(&mut self, writes: &mut [Box<dyn Write>]) -> Result<(), Lost> {
        if self.in_doubt {
            let path = self.path.clone();
            self.mend().map_err(|source| Lost::InDoubt { path, source: Arc::new(source) })?;
        }
        let Err(source) = self.transact(writes) else { return Ok(()) };
        if !is_of_the_disk(&source) {
            return Err(Lost::RolledBack(Arc::new(source)));
        }
        self.in_doubt = true;
        tracing::error!(
            error = &source as &dyn std::error::Error,
            "the disk of the state fails: nothing is written until the state was checked"
        );
        // At once, so that one failure costs one transaction; if it fails, with each.
        drop(self.mend());
        Err(Lost::Unknown(Arc::new(source)))
    }

    /// One consistent view. It is that of the last sound commit, also while writes are in doubt.
    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let sql = self.connection.transaction()?;
        // Dropped without commit: whatever a reader wrote by mistake is rolled back.
        work(&Tx { sql: Statements(&sql), secrets: &self.secrets, now: now() })
    }

    fn transact(&mut self, writes: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = Statements(&transaction);
        for write in writes {
            sql.execute("SAVEPOINT one", [])?;
            match write.make(&Tx { sql, secrets: &self.secrets, now: now() }) {
                Made::Kept => {}
                Made::Undone => {
                    sql.execute("ROLLBACK TO one", [])?;
                }
                Made::DiskFailed(source) => return Err(source),
            }
            // Fails when there is no transaction any more: a full disk may end all of it.
            sql.execute("RELEASE one", [])?;
        }
        transaction.commit()
    }

    fn mend(&mut self) -> Result<(), StateError> {
        let checked = self.checked();
        match &checked {
            Ok(()) => tracing::warn!("the state is sound and written again"),
            Err(error) => tracing::error!(
                error = error as &dyn std::error::Error,
                "the state could not be checked: nothing is written"
            ),
        }
        checked
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
    connection.set_prepared_statement_cache_capacity(statements::KEPT_MAX);
    connection.update_hook(Some(move |_, _: &str, table: &str, _| {
        if table != ONE_OFFS {
            touched.store(true, Ordering::Relaxed);
        }
    }))?;
    Ok(connection)
}

/// Unlike a full disk, which `SQLite` meets before it writes, and rolls back.
pub(super) fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}
