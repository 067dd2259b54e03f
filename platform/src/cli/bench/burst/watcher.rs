//! Sees how far the tasks and dynos of a burst are: in what the cell observes and in the state.

use super::lives::{Lives, Stage};
use crate::cli::bench::BenchError;
use crate::state::model::{OneOff, OneOffState};
use crate::state::{Store, oneoffs};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use jiff::Timestamp;
use lathe_dynos::spec::{DynoState, Observed};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Between two looks at the state. When a task was accepted and done is on record to the
/// millisecond; when it was first running is known this exactly.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What was seen of all.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) tasks: Lives,
    pub(super) dynos: Lives,
    /// The recorded status of each task that has ended.
    pub(super) results: BTreeMap<String, u8>,
}

/// How many are where they should get to.
#[derive(Clone, Copy, Default, Debug)]
struct Progress {
    done: usize,
    up: usize,
}

pub(super) struct Watcher {
    task: JoinHandle<Result<Seen, BenchError>>,
    progress: watch::Receiver<Progress>,
    stop: watch::Sender<bool>,
}

impl Watcher {
    /// Seconds count from now.
    pub(super) fn start(
        on: &Handle,
        store: Store,
        observed: watch::Receiver<Arc<Observed>>,
    ) -> Self {
        let (told, progress) = watch::channel(Progress::default());
        let (stop, stopped) = watch::channel(false);
        let task = on.spawn(look(store, observed, told, stopped));
        Self { task, progress, stop }
    }

    /// Waits until so many tasks have ended and so many dynos are up.
    pub(super) async fn until_all(
        &self,
        tasks: usize,
        dynos: usize,
        until: Instant,
    ) -> Result<(), BenchError> {
        let mut progress = self.progress.clone();
        let all = progress.wait_for(|now| now.done >= tasks && now.up >= dynos);
        if let Ok(seen) = tokio::time::timeout_at(until.into(), all).await {
            let failed = |error| BenchError::at("watch the burst")(io::Error::other(error));
            return seen.map(drop).map_err(failed);
        }
        let Progress { done, up } = *self.progress.borrow();
        let step = format!("see more than {done} tasks end and {up} dynos up in time");
        Err(BenchError::at(step)(io::ErrorKind::TimedOut))
    }

    pub(super) async fn end(self) -> Result<Seen, BenchError> {
        self.stop.send_replace(true);
        self.task.await.map_err(BenchError::at("watch the burst"))?
    }
}

async fn look(
    store: Store,
    observed: watch::Receiver<Arc<Observed>>,
    told: watch::Sender<Progress>,
    stopped: watch::Receiver<bool>,
) -> Result<Seen, BenchError> {
    let begin_ms = Timestamp::now().as_millisecond();
    let seconds = |at_ms: i64| {
        Duration::from_millis(u64::try_from(at_ms - begin_ms).unwrap_or(0)).as_secs_f64()
    };
    let mut seen = Seen::default();
    let (mut known, mut since_ms) = (OrdMap::new(), 0);
    // One look after the word to stop: what came last is seen, too.
    loop {
        let last = *stopped.borrow();
        let now_s = seconds(Timestamp::now().as_millisecond());
        let now = observed.borrow().clone();
        let before = std::mem::replace(&mut known, now.dynos.clone());
        for change in before.diff(&known) {
            let (DiffItem::Add(slot, dyno) | DiffItem::Update { new: (slot, dyno), .. }) = change
            else {
                continue;
            };
            let name = slot.0.clone();
            if dyno.id.is_some() && dyno.address.is_some() {
                seen.dynos.note(Stage::Started, &name, now_s);
            }
            if dyno.state == DynoState::Up {
                let since_ms = i64::try_from(dyno.since_ms).unwrap_or(begin_ms);
                seen.dynos.note(Stage::Running, &name, seconds(since_ms));
            }
        }
        for task in tasks(&store, since_ms).await? {
            // Of the same millisecond there may be more.
            since_ms = since_ms.max(task.updated_at.as_millisecond());
            seen.tasks.note(Stage::Accepted, &task.id, seconds(task.created_at.as_millisecond()));
            if task.state != OneOffState::Starting {
                seen.tasks.note(Stage::Running, &task.id, now_s);
            }
            if let (OneOffState::Complete, Some(status)) = (task.state, task.status) {
                let at_s = seconds(task.updated_at.as_millisecond());
                seen.tasks.note(Stage::Done, &task.id, at_s);
                seen.results.insert(task.id, status);
            }
        }
        let (done, up) = (seen.tasks.count(Stage::Done), seen.dynos.count(Stage::Running));
        told.send_replace(Progress { done, up });
        if last {
            return Ok(seen);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn tasks(store: &Store, since_ms: i64) -> Result<Vec<OneOff>, BenchError> {
    let read = store.read(move |tx| oneoffs::changed(tx, since_ms)).await;
    read.map_err(|error| BenchError::at("read the state")(io::Error::other(error)))
}
