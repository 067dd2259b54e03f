//! The cell's loop: wait for a change, decide, act, report. All decisions are elsewhere.

pub(crate) mod health;
pub(crate) mod label;
pub(crate) mod observe;
pub(crate) mod perform;
mod record;
pub mod seal;

#[cfg(test)]
mod tests;

pub use record::{Record, RecordError};

use crate::PACE;
use crate::checks::Checks;
use crate::clock::Clock;
use crate::containers::{Containers, Exited, Known, Start, Stdio};
use crate::mind::Mind;
use crate::output::pump::Pumps;
use crate::output::voice::Voice;
use crate::spec::{Desired, DynoId, Observed, Slot};
use crate::tracked::{Action, Fact, Said};
use label::SlotLabels;
use perform::{CALL_TIMEOUT, START_TIMEOUT};
use seal::Seal;
use std::collections::HashMap;
use std::future;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

/// How long the last lines of an ended dyno may take before its end is told without them.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);
/// On shutdown, how long answers of the engine are waited for beyond the dynos' own grace.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whoever hears what is observed of thousands of dynos may look at all of them. The loop rests a
/// millisecond for so many of them, so that what comes meanwhile is told at once.
const DYNOS_A_MILLISECOND_OF_REST: usize = 200;
const REST_MAX: Duration = Duration::from_millis(10);

/// Rounds of deciding at one moment; two do, unless something is wrong.
const ROUNDS_MAX: usize = 4;

/// How the cell behaves beyond what is desired.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the last-good record is kept.
    pub dir: PathBuf,
    /// Config vars are in that record.
    pub seal: Arc<dyn Seal>,
    pub clock: Clock,
}

/// What becomes of the dynos when the cell ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// They run on and are adopted by the next cell.
    LeaveDynos,
    /// They are asked to end, and the cell waits for them. The last-good record stays.
    StopDynos,
}

/// Makes `desired` real at an engine until `shutdown` is done, and says in `observed` what is.
///
/// First adopts what the engine already runs. While `desired` has generation 0, nobody has said
/// what shall run: then the last-good record in `config.dir` counts, and without one everything is
/// left as it is.
pub async fn run<C: Containers>(
    config: Config,
    containers: Arc<C>,
    mut desired: watch::Receiver<Arc<Desired>>,
    observed: watch::Sender<Arc<Observed>>,
    logs: lathe_logs::Sender,
    shutdown: impl Future<Output = Stop>,
) {
    let (record, records) = watch::channel(Arc::new(Desired::default()));
    let file = Record::new(&config.dir, config.seal.clone());
    let recorder = tokio::spawn(record::keep(file.clone(), records));
    let mut events = containers.events();
    let mut cell = Cell::new(config, file, containers, observed, logs, record).await;
    cell.want(desired.borrow_and_update().clone());
    let mut shutdown = pin!(shutdown);
    let mut caller_there = true;
    loop {
        let wake = cell.settle();
        tokio::select! {
            stop = &mut shutdown => {
                cell.leave(stop, &mut events).await;
                break;
            }
            changed = desired.changed(), if caller_there => match changed {
                Ok(()) => cell.want(desired.borrow_and_update().clone()),
                // The caller is gone: what it last said counts on.
                Err(_) => caller_there = false,
            },
            () = cell.hear(&mut events) => {}
            () = wake => {}
        }
        tokio::time::sleep(cell.rest()).await;
    }
    cell.close().await;
    if tokio::time::timeout(LEAVE_TIMEOUT, recorder).await.is_err() {
        tracing::warn!("the last-good record is still being written");
    }
}

struct Cell<C> {
    engine: Arc<C>,
    clock: Clock,
    mind: Mind,
    observed: watch::Sender<Arc<Observed>>,
    record: watch::Sender<Arc<Desired>>,
    logs: lathe_logs::Sender,
    pumps: Pumps,
    /// Calls under way at the engine, and what is learned when one of them has no answer.
    calls: JoinSet<Option<Fact>>,
    unanswered: HashMap<Id, Option<Fact>>,
}

impl<C: Containers> Cell<C> {
    async fn new(
        config: Config,
        file: Record,
        engine: Arc<C>,
        observed: watch::Sender<Arc<Observed>>,
        logs: lathe_logs::Sender,
        record: watch::Sender<Arc<Desired>>,
    ) -> Self {
        let last = Arc::new(record::load(file).await.unwrap_or_default());
        Self {
            engine,
            clock: config.clock,
            mind: Mind::new(last),
            observed,
            record,
            logs,
            pumps: Pumps::new(),
            calls: JoinSet::new(),
            unanswered: HashMap::new(),
        }
    }

    /// Takes over a complete list of what shall run.
    fn want(&mut self, desired: Arc<Desired>) {
        if desired.generation == 0 {
            return;
        }
        self.mind.want(desired.clone());
        self.record.send_replace(desired);
    }

    /// Decides and acts until only time or news can change anything, then reports.
    /// Returns the next moment at which time alone does.
    fn settle(&mut self) -> impl Future<Output = ()> + use<C> {
        let began = Instant::now();
        let now_ms = self.clock.now_ms();
        let mut wake_ms = None;
        // What was just begun may have a deadline of its own: decide until nothing is left to do.
        for _ in 0..ROUNDS_MAX {
            let plan = self.mind.decide(now_ms);
            wake_ms = plan.wake_ms;
            if plan.actions.is_empty() {
                break;
            }
            for action in plan.actions {
                self.act(action, now_ms);
            }
        }
        if let Some(news) = self.mind.report() {
            self.observed.send_replace(Arc::new(news));
        }
        let took_ms = began.elapsed().as_secs_f64() * 1000.0;
        tracing::debug!(target: PACE, name = "cell", took_ms);
        let wake = wake_ms.map(|ms| self.clock.instant(ms));
        async move {
            match wake {
                Some(instant) => tokio::time::sleep_until(instant).await,
                None => future::pending().await,
            }
        }
    }

    fn rest(&self) -> Duration {
        let milliseconds = self.mind.tracked().containers.len() / DYNOS_A_MILLISECOND_OF_REST;
        Duration::from_millis(milliseconds.try_into().unwrap_or(u64::MAX)).min(REST_MAX)
    }

    /// Waits for news, and takes in all there is.
    async fn hear(&mut self, events: &mut broadcast::Receiver<Exited>) {
        tokio::select! {
            event = events.recv() => match event {
                Ok(exited) => self.ended(exited),
                Err(RecvError::Lagged(_)) => self.learn(Fact::Lagged),
                // The engine object is ours, so this cannot be; the periodic list is enough.
                Err(RecvError::Closed) => future::pending().await,
            },
            Some(answer) = self.calls.join_next_with_id() => self.answered(answer),
        }
        // Others that are as good as ready are taken along: one decision for all of them.
        tokio::task::yield_now().await;
        while let Some(answer) = self.calls.try_join_next_with_id() {
            self.answered(answer);
        }
    }

    /// An end is told after the dyno's last line.
    fn ended(&mut self, Exited { id, ended }: Exited) {
        let output = self.pumps.end(id);
        let silent = Fact::Exited { id, ended, last_lines: Vec::new() };
        self.call(Some(silent), LAST_LINES_TIMEOUT * 2, async move {
            let last_lines = output.wait(LAST_LINES_TIMEOUT).await;
            Some(Fact::Exited { id, ended, last_lines })
        });
    }

    fn answered(&mut self, answer: Result<(Id, Option<Fact>), tokio::task::JoinError>) {
        let fact = match answer {
            Ok((task, fact)) => {
                self.unanswered.remove(&task);
                fact
            }
            Err(error) => {
                tracing::error!(%error, "a call of the engine panicked");
                self.unanswered.remove(&error.id()).flatten()
            }
        };
        if let Some(fact) = fact {
            self.learn(fact);
        }
    }

    /// What the list says of an end is told after the last line, too; once more teaches nothing.
    fn ended_by_list(&mut self, known: &mut [Known]) {
        for container in known {
            let id = container.id;
            let tracked = self.mind.tracked().containers.get(&id);
            let lives = tracked.is_some_and(|tracked| !tracked.ended());
            if lives
                && self.pumps.knows(id)
                && let Some(ended) = container.ended.take()
            {
                self.ended(Exited { id, ended });
            }
        }
    }

    fn learn(&mut self, mut fact: Fact) {
        if let Fact::Listed { known } = &mut fact {
            self.ended_by_list(known);
        }
        let (forgotten, listed) = match &fact {
            Fact::Forgotten { id } => (Some(*id), false),
            Fact::Listed { .. } => (None, true),
            _ => (None, false),
        };
        let opens = if let Fact::Started { id, .. } = &fact { Some(*id) } else { None };
        let said = self.mind.learn(fact, self.clock.now_ms());
        self.say(said);
        if let Some(id) = forgotten {
            self.pumps.forget(id);
        }
        if listed {
            let tracked = self.mind.tracked();
            self.pumps.retain(|id| tracked.name(id).is_some());
            self.open_pumps(&tracked.readable());
        } else if let Some(id) = opens {
            self.open_pumps(&[id]);
        }
    }

    fn open_pumps(&mut self, ids: &[DynoId]) {
        for id in ids {
            if let Some((app, name)) = self.mind.tracked().name(*id) {
                let voice = Voice::new(app, name, &self.logs);
                self.pumps.open(self.engine.clone(), *id, voice);
            }
        }
    }

    fn say(&self, said: impl IntoIterator<Item = Said>) {
        for Said { app, process, text } in said {
            Voice::new(&app, &process, &self.logs).heroku(&text);
        }
    }

    fn act(&mut self, action: Action, now_ms: u64) {
        if let Action::Start { slot } = action {
            self.start(&slot, now_ms);
            return;
        }
        let said = self.mind.begin(&action, now_ms);
        self.say(said);
        let unanswered = perform::unanswered(&action);
        let engine = self.engine.clone();
        match action {
            Action::Start { .. } => {}
            Action::Terminate { id } => self.call(unanswered, CALL_TIMEOUT, async move {
                perform::terminate(engine.as_ref(), id).await
            }),
            Action::Kill { id, .. } => self.call(unanswered, CALL_TIMEOUT, async move {
                perform::kill(engine.as_ref(), id).await;
                None
            }),
            Action::Forget { id } => {
                let output = self.pumps.end(id);
                self.call(unanswered, CALL_TIMEOUT, async move {
                    Some(perform::forget(engine.as_ref(), id, output).await)
                });
            }
            Action::Probe { id } => {
                let Some((door, checks)) = self.asks(id) else { return };
                // Well and ready are two questions.
                self.call(unanswered, CALL_TIMEOUT + checks.timeout * 2, async move {
                    Some(perform::probe(engine.as_ref(), id, door, &checks).await)
                });
            }
            Action::Check { id, vital, failures } => {
                let Some((door, checks)) = self.asks(id) else { return };
                let at_most = checks.timeout;
                let Some(check) = checks.of(vital).cloned() else { return };
                self.call(unanswered, CALL_TIMEOUT + at_most, async move {
                    let engine = engine.as_ref();
                    let outcome = health::ask(engine, id, door, &check, at_most).await;
                    Some(Fact::Checked { id, vital, failures, outcome })
                });
            }
            Action::Sample { id, metrics } => self.call(unanswered, CALL_TIMEOUT, async move {
                Some(perform::sample(engine.as_ref(), id, metrics).await)
            }),
            Action::List => self.call(unanswered, CALL_TIMEOUT, async move {
                Some(perform::list(engine.as_ref()).await)
            }),
        }
    }

    /// Where a dyno is asked, and what.
    fn asks(&self, id: DynoId) -> Option<(SocketAddrV4, Checks)> {
        let tracked = self.mind.tracked();
        let (address, port) = tracked.door(id)?;
        let wanted = tracked.slot(id).and_then(|slot| self.mind.wanted(slot));
        let checks = wanted.map(|wanted| wanted.checks.clone()).unwrap_or_default();
        Some((SocketAddrV4::new(address, port), checks))
    }

    fn start(&mut self, slot: &Slot, now_ms: u64) {
        let Some(wanted) = self.mind.wanted(slot).cloned() else { return };
        let id = DynoId::random();
        let crashes = self.mind.tracked().crashes(slot);
        let said = self.mind.begin_start(id, slot, &wanted, now_ms);
        self.say([said]);
        self.pumps.expect(id);
        let start = Start {
            id,
            spec: wanted.spec.clone(),
            labels: SlotLabels::new(slot, &wanted, crashes).write(),
            stdio: Stdio::Logged,
            mounts: Vec::new(),
            extra_fds: Vec::new(),
            argv: None,
        };
        let engine = self.engine.clone();
        self.call(Some(Fact::StartUnanswered { id }), START_TIMEOUT, async move {
            Some(perform::start(engine.as_ref(), start).await)
        });
    }

    /// Runs a call beside the loop, which waits for no engine.
    fn call(
        &mut self,
        unanswered: Option<Fact>,
        at_most: Duration,
        call: impl Future<Output = Option<Fact>> + Send + 'static,
    ) {
        let late = unanswered.clone();
        let task = self
            .calls
            .spawn(async move { tokio::time::timeout(at_most, call).await.unwrap_or(late) });
        self.unanswered.insert(task.id(), unanswered);
    }

    /// The mirror image of starting: by default only the calls under way are waited for.
    async fn leave(&mut self, stop: Stop, events: &mut broadcast::Receiver<Exited>) {
        let mut grace = LEAVE_TIMEOUT;
        if stop == Stop::StopDynos {
            grace += self.mind.tracked().longest_grace();
            let generation = self.mind.desired().generation.max(1);
            self.mind.want(Arc::new(Desired { generation, ..Desired::default() }));
        }
        let until = Instant::now() + grace;
        loop {
            let done = match stop {
                Stop::LeaveDynos => !self.mind.tracked().launching(),
                Stop::StopDynos => self.mind.tracked().is_empty(),
            };
            if done {
                return;
            }
            let wake: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = match stop {
                Stop::LeaveDynos => Box::pin(future::pending()),
                Stop::StopDynos => Box::pin(self.settle()),
            };
            tokio::select! {
                () = self.hear(events) => {}
                () = wake => {}
                () = tokio::time::sleep_until(until) => {
                    tracing::warn!("the engine did not answer in time; dynos may be left running");
                    return;
                }
            }
        }
    }

    async fn close(self) {
        drop(self.record);
        self.pumps.close().await;
    }
}
