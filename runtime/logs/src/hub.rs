//! The log hub: takes every line in, keeps the newest, and hands them to tails and drains.

use crate::board::Board;
use crate::drain::DrainTable;
use crate::{AppId, Counts, Filter, Policy, Receiver, SpoolError, Tail, spool};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Lines taken in under one lock.
const BATCH_LINES: usize = 256;

const TICK: Duration = Duration::from_secs(10);

/// A cheap handle to the hub.
#[derive(Clone, Debug)]
pub struct Hub {
    board: Arc<Mutex<Board>>,
}

#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error("app {app} already has {max} log tails")]
    TooMany { app: AppId, max: usize },
}

impl Hub {
    /// Takes back what is spooled in the file `spool`, and returns the handle and the hub's loop.
    ///
    /// The loop ends when `shutdown` resolves or every `Sender` is gone, after what was queued is
    /// taken in, drains have had their grace, tails have ended and the rings are spooled.
    pub fn start(
        lines: Receiver,
        spool: Option<PathBuf>,
        drains: watch::Receiver<Arc<DrainTable>>,
        policy: Policy,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, impl Future<Output = Result<(), SpoolError>> + Send + 'static) {
        let mut board = Board::new(policy);
        if let Some(path) = &spool {
            restore(&mut board, path);
        }
        let hub = Self { board: Arc::new(Mutex::new(board)) };
        let run = hub.clone().run(lines, spool, drains, shutdown);
        (hub, run)
    }

    /// A reader of the app's log: the newest lines that match, and with `follow` all that come.
    pub fn tail(&self, app: &AppId, filter: Filter, follow: bool) -> Result<Tail, TailError> {
        self.lock().tail(app, filter, follow)
    }

    /// Lets go of everything held for an app that is no more; its readers see the end.
    pub fn forget(&self, app: &AppId) {
        self.lock().forget(app);
    }

    pub fn counts(&self, app: &AppId) -> Counts {
        self.lock().counts(app)
    }

    async fn run(
        self,
        mut lines: Receiver,
        spool: Option<PathBuf>,
        mut drains: watch::Receiver<Arc<DrainTable>>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), SpoolError> {
        let mut shutdown = pin!(shutdown);
        let mut tick = tokio::time::interval(TICK);
        let mut batch = Vec::with_capacity(BATCH_LINES);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                taken = lines.recv_many(&mut batch, BATCH_LINES) => match taken {
                    0 => break,
                    _ => self.take(&mut batch, &lines),
                },
                Ok(()) = drains.changed() => {}
                _ = tick.tick() => self.lock().tick(Timestamp::now()),
            }
        }
        lines.close();
        while lines.recv_many(&mut batch, BATCH_LINES).await > 0 {
            self.take(&mut batch, &lines);
        }
        // Once more, for what was turned away while the last lines were taken in.
        self.take(&mut batch, &lines);
        self.lock().finish_tails();
        match spool {
            Some(path) => self.save(path).await,
            None => Ok(()),
        }
    }

    fn take(&self, batch: &mut Vec<crate::Line>, lines: &Receiver) {
        let now = Timestamp::now();
        let mut board = self.lock();
        batch.drain(..).for_each(|line| board.take(line, now));
        lines.take_losses().into_iter().for_each(|(app, loss)| board.lost(app, loss, now));
    }

    async fn save(&self, path: PathBuf) -> Result<(), SpoolError> {
        let entries = self.lock().entries();
        let saved = tokio::task::spawn_blocking(move || spool::save(&path, &entries)).await;
        saved.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A spool that cannot be read must not keep new lines from being taken in.
fn restore(board: &mut Board, path: &Path) {
    match spool::load(path) {
        Ok((entries, unreadable)) => {
            tracing::info!(lines = entries.len(), unreadable, "log spool taken back");
            for entry in entries {
                board.restore(entry);
            }
        }
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "log spool lost"),
    }
}
