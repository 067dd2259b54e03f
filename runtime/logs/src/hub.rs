//! The log hub: takes every line in, keeps the newest, and hands them to tails and drains.

use crate::board::Board;
use crate::drain::{Crew, DrainTable};
use crate::spool::{self, Spooled};
use crate::{AppId, Counts, Filter, Line, Policy, Receiver, SpoolError, Tail};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Lines taken in under one lock.
const BATCH_LINES: usize = 256;

const TICK: Duration = Duration::from_secs(10);

/// A cheap handle to the hub.
#[derive(Clone, Debug)]
pub struct Hub {
    board: Arc<Mutex<Board>>,
}

/// Everything the loop waits for.
#[derive(Debug)]
struct Inputs {
    lines: Receiver,
    /// What drains have to tell their apps.
    notices: mpsc::Receiver<Line>,
    drains: watch::Receiver<Arc<DrainTable>>,
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
        let Spooled { entries, left, .. } = spool.as_deref().map(load).unwrap_or_default();
        let (crew, notices) = Crew::new(policy.drain.clone(), left);
        let mut board = Board::new(policy);
        for entry in entries {
            board.restore(entry);
        }
        let hub = Self { board: Arc::new(Mutex::new(board)) };
        let inputs = Inputs { lines, notices, drains };
        let run = hub.clone().run(inputs, crew, spool, shutdown);
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
        mut inputs: Inputs,
        mut crew: Crew,
        spool: Option<PathBuf>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), SpoolError> {
        // Before the first line, or the drains would miss it.
        self.route(&mut crew, &mut inputs.drains);
        self.serve(&mut inputs, &mut crew, shutdown).await;
        self.take_rest(inputs.lines).await;
        self.lock().stop();
        let left = crew.land().await;
        let Some(path) = spool else { return Ok(()) };
        let entries = self.lock().entries();
        let save = move || spool::save(&path, &entries, &left);
        let saved = tokio::task::spawn_blocking(save).await;
        saved.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Until `shutdown` or until every `Sender` is gone.
    async fn serve(
        &self,
        inputs: &mut Inputs,
        crew: &mut Crew,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        let mut tick = tokio::time::interval(TICK);
        let mut batch = Vec::with_capacity(BATCH_LINES);
        let Inputs { lines, notices, drains } = inputs;
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                taken = lines.recv_many(&mut batch, BATCH_LINES) => match taken {
                    0 => return,
                    _ => self.take(&mut batch, lines),
                },
                Some(notice) = notices.recv() => self.lock().take(notice, Timestamp::now()),
                Ok(()) = drains.changed() => self.route(crew, drains),
                _ = tick.tick() => self.lock().tick(Timestamp::now()),
            }
        }
    }

    fn route(&self, crew: &mut Crew, drains: &mut watch::Receiver<Arc<DrainTable>>) {
        let table = Arc::clone(&drains.borrow_and_update());
        if let Some(routes) = crew.apply(&table) {
            self.lock().route(routes);
        }
    }

    /// Closes the door and takes in what is queued.
    async fn take_rest(&self, mut lines: Receiver) {
        let mut batch = Vec::with_capacity(BATCH_LINES);
        lines.close();
        while lines.recv_many(&mut batch, BATCH_LINES).await > 0 {
            self.take(&mut batch, &lines);
        }
        // Once more, for what was turned away while the last lines were taken in.
        self.take(&mut batch, &lines);
    }

    fn take(&self, batch: &mut Vec<Line>, lines: &Receiver) {
        let now = Timestamp::now();
        let mut board = self.lock();
        batch.drain(..).for_each(|line| board.take(line, now));
        lines.take_losses().into_iter().for_each(|(app, loss)| board.lost(app, loss, now));
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A spool that cannot be read must not keep new lines from being taken in.
fn load(path: &Path) -> Spooled {
    spool::load(path)
        .inspect(|spooled| {
            let (lines, unreadable) = (spooled.entries.len(), spooled.rows_unreadable);
            tracing::info!(lines, unreadable, "log spool taken back");
        })
        .inspect_err(|error| {
            tracing::warn!(error = error as &dyn std::error::Error, "log spool lost");
        })
        .unwrap_or_default()
}
