//! The log hub: takes every line in, keeps the newest, and hands them to tails and drains.

use crate::block::Block;
use crate::board::Board;
use crate::clock::steady;
use crate::drain::{Crew, DrainTable};
use crate::journal::{self, Journal, Kept, Rows};
use crate::sender::Door;
use crate::{AppId, Counts, Filter, JournalError, Ledger, Line, Policy, Receiver, Tail};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::yield_now;

/// Lines taken in under one lock, or a block more.
const BATCH_LINES: usize = 512;

const TICK: Duration = Duration::from_secs(10);

/// How long lines on their way in are waited for: a hub that stands still holds nobody for good.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// A cheap handle to the hub.
#[derive(Clone, Debug)]
pub struct Hub {
    board: Arc<Mutex<Board>>,
    door: Arc<Door>,
    ledger: Option<Arc<Ledger>>,
}

/// Everything the loop waits for.
#[derive(Debug)]
struct Inputs {
    lines: Receiver,
    /// What drains have to tell their apps.
    notices: mpsc::Receiver<Line>,
    drains: watch::Receiver<Arc<DrainTable>>,
    /// Drains have got rid of lines.
    moves: Arc<Notify>,
}

/// The hub's one writer of the journal.
#[derive(Debug)]
struct Scribe {
    journal: Option<Journal>,
    rows: Rows,
}

#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error("app {app} already has {max} log tails")]
    TooMany { app: AppId, max: usize },
}

impl Hub {
    /// Takes back what the journal in the file `journal` holds, and returns the handle and the
    /// hub's loop.
    ///
    /// The loop ends when `shutdown` resolves or every `Sender` is gone, after what was queued is
    /// taken in, drains have had their grace, tails have ended and the journal is on disk.
    pub fn start(
        lines: Receiver,
        journal: Option<PathBuf>,
        drains: watch::Receiver<Arc<DrainTable>>,
        policy: Policy,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> (Self, impl Future<Output = Result<(), JournalError>> + Send + 'static) {
        let kept = journal.as_deref().map(load).unwrap_or_default();
        let moves = Arc::new(Notify::new());
        let (crew, notices) = Crew::new(policy.drain.clone(), kept.left(), Arc::clone(&moves));
        let mut board = Board::new(policy, journal.is_some());
        board.restore(kept);
        let (door, ledger) = (lines.door(), lines.ledger());
        let hub = Self { board: Arc::new(Mutex::new(board)), door, ledger };
        let inputs = Inputs { lines, notices, drains, moves };
        let scribe = Scribe { journal: journal.map(Journal::new), rows: Rows::default() };
        let run = hub.clone().run(inputs, crew, scribe, shutdown);
        (hub, run)
    }

    /// Waits for what is on its way in, of whatever app: what was handed over before this can then
    /// be read, unless that takes very long.
    pub async fn settled(&self) {
        let handed = self.door.handed();
        let mut taken = self.lock().taken();
        drop(tokio::time::timeout(SETTLE_MAX, taken.wait_for(|taken| *taken >= handed)).await);
    }

    /// A reader of the app's log: the newest lines that match, and with `follow` all that come.
    pub fn tail(&self, app: &AppId, filter: Filter, follow: bool) -> Result<Tail, TailError> {
        self.lock().tail(app, filter, follow)
    }

    /// Lets go of everything held for an app that is no more; its readers see the end.
    pub fn forget(&self, app: &AppId) {
        self.lock().forget(app);
        if let Some(ledger) = &self.ledger {
            ledger.forget(app);
        }
    }

    pub fn counts(&self, app: &AppId) -> Counts {
        self.lock().counts(app)
    }

    /// The apps that have ever had a line.
    pub fn apps(&self) -> Vec<AppId> {
        self.lock().apps()
    }

    /// The counts of every app that has ever had a line.
    pub fn all_counts(&self) -> Vec<(AppId, Counts)> {
        let board = self.lock();
        board.apps().into_iter().map(|app| (app.clone(), board.counts(&app))).collect()
    }

    async fn run(
        self,
        mut inputs: Inputs,
        mut crew: Crew,
        mut scribe: Scribe,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), JournalError> {
        // Before the first line, or the drains would miss it.
        self.route(&mut crew, &mut inputs.drains);
        self.reconcile();
        self.renew(&crew, &mut scribe).await;
        self.serve(&mut inputs, &mut crew, &mut scribe, shutdown).await;
        self.take_rest(inputs.lines, &mut scribe).await;
        self.lock().stop();
        crew.land().await;
        self.renew(&crew, &mut scribe).await;
        scribe.journal.map_or(Ok(()), |journal| journal.sync())
    }

    /// Until `shutdown` or until every `Sender` is gone.
    async fn serve(
        &self,
        inputs: &mut Inputs,
        crew: &mut Crew,
        scribe: &mut Scribe,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        let mut tick = tokio::time::interval(TICK);
        let mut batch = Vec::new();
        let Inputs { lines, notices, drains, moves } = inputs;
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                more = lines.recv_many(&mut batch, BATCH_LINES) => {
                    if !more {
                        return;
                    }
                    // Who has something to say at this moment, too, says it first: that is one write
                    // to the journal for all of them.
                    yield_now().await;
                    lines.try_recv_many(&mut batch, BATCH_LINES);
                    self.take(&mut batch, lines, scribe);
                }
                () = moves.notified() => self.write_moves(scribe),
                Some(notice) = notices.recv() => self.lock().say(notice, steady()),
                Ok(()) = drains.changed() => self.route(crew, drains),
                _ = tick.tick() => {
                    self.lock().tick(steady());
                    if scribe.journal.as_ref().is_some_and(Journal::is_broken) {
                        self.renew(crew, scribe).await;
                    }
                }
            }
            if scribe.journal.as_ref().is_some_and(Journal::is_due) {
                self.renew(crew, scribe).await;
            }
        }
    }

    /// Tells apps what an earlier run has lost of them.
    fn reconcile(&self) {
        let (now, mut board) = (steady(), self.lock());
        for (app, sent) in self.ledger.iter().flat_map(|ledger| ledger.before()) {
            board.reconcile(app, *sent, now);
        }
    }

    /// Writes the journal anew. What comes meanwhile waits in the queue.
    async fn renew(&self, crew: &Crew, scribe: &mut Scribe) {
        let Some(mut journal) = scribe.journal.take() else { return };
        let mut kept = {
            let mut board = self.lock();
            // What is in the file then need not be appended to it.
            board.write_down(&mut scribe.rows);
            board.kept()
        };
        kept.marks.extend(crew.marks());
        let renew = move || {
            if let Err(error) = journal.renew(&kept) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the log journal cannot be written: a crash would lose the log"
                );
            }
            journal
        };
        let renewed = tokio::task::spawn_blocking(renew).await;
        scribe.journal =
            Some(renewed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())));
    }

    fn route(&self, crew: &mut Crew, drains: &mut watch::Receiver<Arc<DrainTable>>) {
        let table = Arc::clone(&drains.borrow_and_update());
        if let Some(routes) = crew.apply(&table) {
            self.lock().route(routes);
        }
    }

    /// Closes the door and takes in what is queued.
    async fn take_rest(&self, mut lines: Receiver, scribe: &mut Scribe) {
        let mut batch = Vec::new();
        lines.close();
        while lines.recv_many(&mut batch, BATCH_LINES).await {
            self.take(&mut batch, &lines, scribe);
        }
        // Once more, for what was turned away while the last lines were taken in.
        self.take(&mut batch, &lines, scribe);
    }

    fn take(&self, batch: &mut Vec<Block>, lines: &Receiver, scribe: &mut Scribe) {
        let now = steady();
        let mut board = self.lock();
        batch.drain(..).for_each(|block| board.take(block, now));
        lines.take_losses().iter().for_each(|(app, loss)| board.lost(app, *loss, now));
        board.write_down(&mut scribe.rows);
        drop(board);
        scribe.append();
    }

    fn write_moves(&self, scribe: &mut Scribe) {
        self.lock().write_moves(&mut scribe.rows);
        scribe.append();
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scribe {
    /// A journal that fails is told once; it is written anew when that can be done.
    fn append(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        if let Err(error) = journal.append(&self.rows) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the log journal cannot be written: a crash would lose the log"
            );
        }
    }
}

/// A journal that cannot be read must not keep new lines from being taken in.
fn load(path: &Path) -> Kept {
    journal::load(path)
        .inspect(|kept| tracing::info!(lines = kept.lines(), "log journal taken back"))
        .inspect_err(|error| {
            tracing::warn!(error = error as &dyn std::error::Error, "log journal lost");
        })
        .unwrap_or_default()
}
