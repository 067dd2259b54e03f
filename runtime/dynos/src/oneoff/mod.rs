//! One-off dynos: each is started once, never twice, never again, and its exit status is exact.

mod ending;
mod keeper;
#[cfg(test)]
mod tests;

use crate::cell::perform::chain;
use crate::containers::{
    Containers, Ended, EngineError, Known, Signal, Start, StartError, Started, Stdio,
};
use crate::output::pump::Pumps;
use crate::output::state_line as line;
use crate::output::voice::Voice;
use crate::spec::{DynoId, DynoSpec};
use crate::tracked::memory::{self, Memory};
use lathe_logs::AppId;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const LABEL: &str = "lathe.one-off";
const ATTACHED: &str = "attached";
const DETACHED: &str = "detached";
/// Starts under way at once of one-offs that nobody waits for; more would only make each of them
/// slower, and all else that starts.
const STARTS_MAX: usize = 16;
/// How long an engine that lost an answer is asked whether the dyno runs.
const DOUBT_TRIES: u32 = 30;
const ENGINE_RETRY: Duration = Duration::from_secs(1);

/// The one-off dynos of one machine. Must be made inside a tokio runtime; ends its own tasks when
/// dropped, and leaves the dynos running.
pub struct OneOffs<C> {
    inner: Arc<Inner<C>>,
    keeper: JoinHandle<()>,
}

/// Where a one-off's bytes go.
#[derive(Debug)]
pub enum Attachment {
    /// Into the app's log.
    Detached,
    /// Through a pseudo-terminal, whose master comes back in `Started`.
    Terminal { rows: u16, columns: u16 },
    /// Through the client's own pipes.
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
}

/// Where a one-off is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Starting,
    Up,
    Complete(Ended),
}

/// A one-off as `ps` shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct OneOff {
    pub id: DynoId,
    pub app: AppId,
    /// `run.1234`
    pub name: String,
    pub command: String,
    /// The name of its class.
    pub size: String,
    pub attached: bool,
    pub state: State,
}

struct Inner<C> {
    engine: Arc<C>,
    logs: lathe_logs::Sender,
    held: Mutex<Held>,
    starts: Semaphore,
    /// The engine has said what runs from an earlier life.
    listed: watch::Sender<bool>,
}

struct Held {
    entries: BTreeMap<DynoId, Entry>,
    pumps: Pumps,
}

struct Entry {
    oneoff: OneOff,
    memory: Memory,
    state: watch::Sender<State>,
    /// It is being ended: once is enough.
    ending: bool,
}

impl<C> fmt::Debug for OneOffs<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneOffs").finish_non_exhaustive()
    }
}

impl<C> Drop for OneOffs<C> {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl<C: Containers> OneOffs<C> {
    /// Finds what an earlier life of this process left: detached one-offs go on, and their ends
    /// are logged; attached ones have lost their client and are hung up.
    pub fn new(engine: Arc<C>, logs: lathe_logs::Sender) -> Self {
        let held = Mutex::new(Held { entries: BTreeMap::new(), pumps: Pumps::new() });
        let (starts, listed) = (Semaphore::new(STARTS_MAX), watch::Sender::new(false));
        let inner = Arc::new(Inner { engine, logs, held, starts, listed });
        let keeper = tokio::spawn(keeper::run(inner.clone()));
        Self { inner, keeper }
    }

    /// Starts a one-off under an identity that the caller has made and recorded before; a second
    /// start of the same identity is refused. A failed start has left nothing behind.
    pub async fn start(
        &self,
        id: DynoId,
        spec: DynoSpec,
        attachment: Attachment,
    ) -> Result<Started, StartError> {
        if !self.inner.enter(id, &spec, !matches!(attachment, Attachment::Detached)) {
            return Err(StartError::Repeated(id));
        }
        // A caller that goes away must not leave a start half known: it is seen through.
        let inner = self.inner.clone();
        let start = tokio::spawn(async move { inner.start(id, spec, attachment).await });
        start.await.unwrap_or(Err(StartError::Engine(EngineError::Gone)))
    }

    /// How it ended; waits for the end, and for its last line in the log. Ends are kept until
    /// `forget`, also over a restart of this process.
    pub async fn wait(&self, id: DynoId) -> Result<Ended, EngineError> {
        let mut state = self.inner.find(id).await?;
        loop {
            if let State::Complete(ended) = *state.borrow_and_update() {
                return Ok(ended);
            }
            // The sender goes when a start has failed.
            state.changed().await.map_err(|_| EngineError::Unknown(id))?;
        }
    }

    /// Drops what is kept about an ended one-off. Call it once its end is recorded.
    pub async fn forget(&self, id: DynoId) -> Result<(), EngineError> {
        self.wait(id).await?;
        match self.inner.engine.forget(id).await {
            Ok(()) | Err(EngineError::Unknown(_)) => {
                self.inner.leave(id);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to every process of it.
    pub async fn signal(&self, id: DynoId, signal: Signal) -> Result<(), EngineError> {
        self.inner.find(id).await?;
        self.inner.engine.signal(id, signal).await
    }

    /// Sets the size of its terminal.
    pub async fn resize(&self, id: DynoId, rows: u16, columns: u16) -> Result<(), EngineError> {
        self.inner.find(id).await?;
        self.inner.engine.resize(id, rows, columns).await
    }

    /// SIGTERM, and SIGKILL after `grace` (R12). Returns at once; `wait` for the end.
    pub fn stop(&self, id: DynoId, grace: Duration) {
        if let Some(voice) = self.inner.begin_ending(id) {
            tokio::spawn(ending::stop(self.inner.clone(), id, voice, grace));
        }
    }

    /// The client is gone: SIGHUP three times, five seconds apart, then SIGKILL (R16). Returns at
    /// once; `wait` for the end.
    pub fn hang_up(&self, id: DynoId) {
        self.inner.clone().hang_up(id);
    }

    /// Tells the log that an attached one-off waits for its client.
    pub fn await_client(&self, spec: &DynoSpec) {
        self.inner.voice(spec).heroku(line::AWAITING_CLIENT);
    }

    /// Tells the log that the client never came (R13).
    pub fn client_missed(&self, spec: &DynoSpec) {
        self.inner.voice(spec).heroku(line::R13);
    }

    /// All one-offs not forgotten, by identity.
    pub fn list(&self) -> Vec<OneOff> {
        let held = self.inner.held();
        let seen = |entry: &Entry| OneOff { state: *entry.state.borrow(), ..entry.oneoff.clone() };
        held.entries.values().map(seen).collect()
    }

    /// As `list`, once the engine has said what is there from an earlier life.
    pub async fn all(&self) -> Vec<OneOff> {
        let mut listed = self.inner.listed.subscribe();
        drop(listed.wait_for(|listed| *listed).await);
        self.list()
    }

    /// Stops reading output; what is unread stays in the pipes for the next life of this process.
    pub async fn close(&self) {
        let pumps = std::mem::replace(&mut self.inner.held().pumps, Pumps::new());
        pumps.close().await;
    }
}

impl<C: Containers> Inner<C> {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn voice(&self, spec: &DynoSpec) -> Voice {
        Voice::new(&spec.app, &spec.name, &self.logs)
    }

    fn watch(&self, id: DynoId) -> Option<watch::Receiver<State>> {
        self.held().entries.get(&id).map(|entry| entry.state.subscribe())
    }

    /// One that is not known may be of an earlier life: the engine's first list tells.
    async fn find(&self, id: DynoId) -> Result<watch::Receiver<State>, EngineError> {
        if let Some(state) = self.watch(id) {
            return Ok(state);
        }
        let mut listed = self.listed.subscribe();
        drop(listed.wait_for(|listed| *listed).await);
        self.watch(id).ok_or(EngineError::Unknown(id))
    }

    /// False when it is there already.
    fn enter(&self, id: DynoId, spec: &DynoSpec, attached: bool) -> bool {
        let mut held = self.held();
        if held.entries.contains_key(&id) {
            return false;
        }
        let oneoff = OneOff {
            id,
            app: spec.app.clone(),
            name: spec.name.clone(),
            command: spec.command.clone(),
            size: spec.class.name.clone(),
            attached,
            state: State::Starting,
        };
        let memory = Memory::of(&spec.class);
        let state = watch::Sender::new(State::Starting);
        held.entries.insert(id, Entry { oneoff, memory, state, ending: false });
        if !attached {
            held.pumps.expect(id);
        }
        true
    }

    fn leave(&self, id: DynoId) {
        let mut held = self.held();
        held.entries.remove(&id);
        held.pumps.forget(id);
    }

    fn up(&self, id: DynoId, attached: bool, voice: Voice) {
        let mut held = self.held();
        if !attached {
            held.pumps.open(self.engine.clone(), id, voice);
        }
        if let Some(entry) = held.entries.get(&id) {
            entry.state.send_if_modified(|state| {
                let starting = *state == State::Starting;
                if starting {
                    *state = State::Up;
                }
                starting
            });
        }
    }

    async fn start(
        &self,
        id: DynoId,
        spec: DynoSpec,
        attachment: Attachment,
    ) -> Result<Started, StartError> {
        let (stdio, label) = match attachment {
            Attachment::Detached => (Stdio::Logged, DETACHED),
            Attachment::Terminal { rows, columns } => (Stdio::Terminal { rows, columns }, ATTACHED),
            Attachment::Pipes { stdin, stdout, stderr } => {
                (Stdio::Given { stdin, stdout, stderr }, ATTACHED)
            }
        };
        let voice = self.voice(&spec);
        voice.heroku(&line::state_changed("created", "starting"));
        let command = spec.command.clone();
        let start = Start {
            id,
            spec,
            labels: BTreeMap::from([(LABEL.to_owned(), label.to_owned())]),
            stdio,
            mounts: Vec::new(),
            extra_fds: Vec::new(),
            argv: None,
        };
        let answer = self.launch_in_turn(start).await;
        match &answer {
            Ok(_) => {
                voice.heroku(&line::starting(&command));
                voice.heroku(&line::state_changed("starting", "up"));
                self.up(id, label == ATTACHED, voice);
            }
            Err(error) => {
                match error {
                    StartError::Withdrawn(_) => {}
                    StartError::SlugChecksum { expected, actual } => {
                        voice.heroku(&line::r17(expected, actual));
                    }
                    error => voice.heroku(&line::start_failed(&chain(error))),
                }
                voice.heroku(&line::state_changed("starting", "complete"));
                self.leave(id);
            }
        }
        answer
    }

    /// Starts it when its turn has come, unless it was stopped meanwhile. With an attached one a
    /// client waits: it has no turn to wait for.
    async fn launch_in_turn(&self, start: Start) -> Result<Started, StartError> {
        let detached = matches!(start.stdio, Stdio::Logged);
        let _turn = if detached { self.starts.acquire().await.ok() } else { None };
        if self.held().entries.get(&start.id).is_some_and(|entry| entry.ending) {
            return Err(StartError::Withdrawn(start.id));
        }
        self.launch(start).await
    }

    /// Starts it. When the answer is lost, the engine's list tells whether it runs; an attached
    /// one that runs without its terminal is of no use to anybody and is ended.
    async fn launch(&self, start: Start) -> Result<Started, StartError> {
        let id = start.id;
        let terminal = matches!(start.stdio, Stdio::Terminal { .. });
        match self.engine.start(start).await {
            Err(StartError::Engine(EngineError::Gone)) => {}
            answer => return answer,
        }
        let found = self.doubted(id).await;
        match found {
            Some(known) if !terminal => {
                Ok(Started { pid: known.pid, address: known.address, terminal: None })
            }
            Some(_) => {
                tracing::warn!(dyno.id = %id, "a one-off lost its terminal at its start");
                ending::remove(self, id).await;
                Err(StartError::Engine(EngineError::Gone))
            }
            None => Err(StartError::Engine(EngineError::Gone)),
        }
    }

    async fn doubted(&self, id: DynoId) -> Option<Known> {
        for _ in 0..DOUBT_TRIES {
            if let Ok(known) = self.engine.list().await {
                return known.into_iter().find(|known| known.id == id);
            }
            sleep(ENGINE_RETRY).await;
        }
        None
    }

    /// Marks it as being ended; none when it is already, or is not known.
    fn begin_ending(&self, id: DynoId) -> Option<Voice> {
        let mut held = self.held();
        let entry = held.entries.get_mut(&id)?;
        if std::mem::replace(&mut entry.ending, true) {
            return None;
        }
        Some(Voice::new(&entry.oneoff.app, &entry.oneoff.name, &self.logs))
    }

    fn hang_up(self: Arc<Self>, id: DynoId) {
        if let Some(voice) = self.begin_ending(id) {
            tokio::spawn(ending::hang_up(self, id, voice));
        }
    }

    /// Records the end, once, and tells the log.
    fn complete(&self, id: DynoId, ended: Ended) {
        let held = self.held();
        let Some(entry) = held.entries.get(&id) else { return };
        if matches!(*entry.state.borrow(), State::Complete(_)) {
            return;
        }
        let voice = Voice::new(&entry.oneoff.app, &entry.oneoff.name, &self.logs);
        if memory::was_fatal(&ended) {
            entry.memory.death(ended.memory_peak_bytes).iter().for_each(|text| voice.heroku(text));
        }
        voice.heroku(&line::exited(ended.status));
        voice.heroku(&line::state_changed("up", "complete"));
        entry.state.send_replace(State::Complete(ended));
    }
}
