//! The engine as its callers see it: prepares containers, asks the spawner, answers questions.

use super::berths::Berths;
use super::cgroup::Cgroups;
use super::cpuset::CpuSets;
use super::dynos::{Dyno, Dynos, State};
use super::grants::Grants;
use super::link::Link;
use super::open::{self, NativeConfig, OpenError};
use super::record::Files;
use super::slugs::Slugs;
use super::sockets::KeptSocket;
use super::wills::Wills;
use super::wire::{Answer, Failure, Order};
use super::{ports, starting, visiting};
use crate::containers::{
    Containers, EngineError, Exited, Governed, Known, LastWill, Output, Ran, Signal, Start,
    StartError, Started, Usage,
};
use crate::spec::{DynoId, DynoSpec, SYSTEM_APP};
use rustix::termios::Winsize;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

/// How long a call waits for a spawner that has just died to be replaced.
const LINK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long killed dynos may take to be gone when the engine closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The engine. Dropping it leaves every dyno running, for the next engine to adopt.
#[derive(Debug)]
pub struct NativeEngine {
    shared: Arc<Shared>,
    /// What keeps the spawner, and what keeps berths ready.
    keepers: [JoinHandle<()>; 2],
    /// Not shared: the next engine may open as soon as this one is dropped, whatever task of it
    /// has yet to notice.
    _lock: File,
}

/// What the engine and its tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: NativeConfig,
    pub(super) cgroups: Cgroups,
    pub(super) cpusets: CpuSets,
    pub(super) slugs: Slugs,
    pub(super) resolv_conf: String,
    pub(super) dynos: Mutex<Dynos>,
    pub(super) berths: Berths,
    pub(super) link: watch::Sender<Option<Arc<Link>>>,
    pub(super) kept: Mutex<Vec<KeptSocket>>,
    pub(super) exits: broadcast::Sender<Exited>,
}

impl Drop for NativeEngine {
    fn drop(&mut self) {
        self.keepers.iter().for_each(JoinHandle::abort);
    }
}

impl NativeEngine {
    pub(super) fn new(shared: Arc<Shared>, keepers: [JoinHandle<()>; 2], lock: File) -> Self {
        Self { shared, keepers, _lock: lock }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What each dyno is that has not ended, the platform's own left out.
    pub fn living(&self) -> Vec<DynoSpec> {
        let dynos = self.shared.dynos();
        let specs = dynos.living().map(|record| &record.spec);
        specs.filter(|spec| spec.app.as_str() != SYSTEM_APP).cloned().collect()
    }

    /// Where ends are told: an engine beside this one may tell its own there.
    pub fn exits(&self) -> broadcast::Sender<Exited> {
        self.shared.exits.clone()
    }

    /// Leaves with the spawner what to do for a dyno of another engine when the platform is gone.
    ///
    /// # Errors
    /// It cannot be written down.
    pub fn keep_will(&self, id: DynoId, will: Option<&LastWill>) -> Result<(), EngineError> {
        let kept = Wills::of(&self.shared.config.dir).keep(id, will);
        kept.map_err(|source| unwritten(id, source))
    }

    /// The name servers that dynos ask.
    pub fn resolvers(&self) -> Vec<Ipv4Addr> {
        open::resolvers(&self.shared.resolv_conf)
    }

    /// Starts a dyno of the platform's own app with what only that app may have.
    pub async fn start_with(&self, start: Start, grants: Grants) -> Result<Started, StartError> {
        // A task of its own: a start that nobody waits for any more is still finished or undone.
        let started = tokio::spawn(starting::start(Arc::clone(&self.shared), start, grants)).await;
        started.unwrap_or(Err(StartError::Engine(EngineError::Gone)))
    }

    /// Closes the engine. With `stop_dynos` nothing is left on the machine but unpacked slugs:
    /// every dyno is killed, the spawner ends, firewall and control groups are removed.
    pub async fn close(&self, stop_dynos: bool) -> Result<(), OpenError> {
        if !stop_dynos {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + CLOSE_TIMEOUT;
        while let Some(id) = self.shared.first() {
            // A dyno that ends meanwhile is as good as killed; one that does not is tried again.
            drop(self.kill(id).await);
            if self.forget(id).await.is_err() {
                if tokio::time::Instant::now() > deadline {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        // The keeper goes when it has found the spawner: one that nobody found could not be ended.
        let link = self.shared.link().await;
        self.keepers.iter().for_each(JoinHandle::abort);
        // One may be at work at this moment, and would replace the spawner that ends.
        while !self.keepers.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.shared.berths.close();
        if let Ok(link) = link {
            let listening = Arc::clone(&link);
            let listener = tokio::spawn(async move { while listening.listen().await.is_some() {} });
            // It may end before its answer is read.
            drop(link.ask(Order::Retire, &[]).await);
            drop(listener.await);
        }
        let shared = Arc::clone(&self.shared);
        let undone = tokio::task::spawn_blocking(move || open::undo(&shared)).await;
        undone.map_err(|_| OpenError::Interrupted)?
    }
}

impl Shared {
    pub(super) fn dynos(&self) -> MutexGuard<'_, Dynos> {
        self.dynos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn running(&self) -> Vec<DynoId> {
        let dynos = self.dynos();
        let running = dynos.iter().filter(|(_, dyno)| dyno.state == State::Running);
        running.map(|(id, _)| id).collect()
    }

    fn first(&self) -> Option<DynoId> {
        self.dynos().first()
    }

    pub(super) async fn link(&self) -> Result<Arc<Link>, EngineError> {
        let mut links = self.link.subscribe();
        match tokio::time::timeout(LINK_TIMEOUT, links.wait_for(Option::is_some)).await {
            Ok(Ok(link)) => link.clone().ok_or(EngineError::Gone),
            _ => Err(EngineError::Gone),
        }
    }

    /// Asks the spawner about a dyno that is known.
    async fn ask(&self, id: DynoId, order: Order) -> Result<(Answer, Vec<OwnedFd>), EngineError> {
        if !self.dynos().contains(id) {
            return Err(EngineError::Unknown(id));
        }
        let link = self.link().await?;
        match link.ask(order, &[]).await {
            Ok((Answer::Failed(failure), _)) => Err(failed(id, &failure)),
            Ok((Answer::Unknown, _)) => Err(EngineError::Unknown(id)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(EngineError::Gone),
        }
    }

    /// What a dyno has said that no spawner has handed out.
    fn output(&self, id: DynoId) -> Result<Output, EngineError> {
        let dynos = self.dynos();
        let ends = dynos.get(id).and_then(|dyno| dyno.output.as_ref());
        let [stdout, stderr] = ends.ok_or(EngineError::Unknown(id))?;
        let copy = |end: &OwnedFd| {
            let step = "copy output".to_owned();
            end.try_clone().map_err(|source| EngineError::Failed { id, step, source })
        };
        Ok(Output { stdout: copy(stdout)?, stderr: copy(stderr)?, dropped_bytes: 0 })
    }

    fn pid(&self, id: DynoId) -> Result<Option<u32>, EngineError> {
        let dynos = self.dynos();
        let dyno = dynos.get(id).ok_or(EngineError::Unknown(id))?;
        Ok((dyno.state == State::Running).then_some(dyno.pid))
    }
}

impl Containers for NativeEngine {
    async fn start(&self, start: Start) -> Result<Started, StartError> {
        self.start_with(start, Grants::NONE).await
    }

    async fn list(&self) -> Result<Vec<Known>, EngineError> {
        let dynos = self.shared.dynos();
        let started = dynos.iter().filter(|(_, dyno)| dyno.state != State::Starting);
        Ok(started.map(|(_, dyno)| dyno.known()).collect())
    }

    async fn labelled(&self, label: &str) -> Result<Vec<Known>, EngineError> {
        let dynos = self.shared.dynos();
        let wanted =
            |dyno: &Dyno| dyno.state != State::Starting && dyno.record.labels.contains_key(label);
        let found = dynos.iter().map(|(_, dyno)| dyno).filter(|dyno| wanted(dyno));
        Ok(found.map(Dyno::known).collect())
    }

    fn events(&self) -> broadcast::Receiver<Exited> {
        self.shared.exits.subscribe()
    }

    async fn signal(&self, id: DynoId, signal: Signal) -> Result<(), EngineError> {
        self.shared.ask(id, Order::Signal(id, signal as i32)).await.map(drop)
    }

    async fn kill(&self, id: DynoId) -> Result<(), EngineError> {
        // The kernel ends every process of a container whose first one is killed.
        self.signal(id, Signal::SIGKILL).await
    }

    async fn forget(&self, id: DynoId) -> Result<(), EngineError> {
        let state = self.shared.dynos().get(id).ok_or(EngineError::Unknown(id))?.state;
        if matches!(state, State::Running | State::Ending) {
            let source = io::Error::from_raw_os_error(libc::EBUSY);
            return Err(EngineError::Failed { id, step: "forget".to_owned(), source });
        }
        self.shared.ask(id, Order::Forget(id)).await?;
        let files = Files::of(&self.shared.config.dir, id);
        files.remove().map_err(|source| EngineError::Failed {
            id,
            step: "remove record".to_owned(),
            source,
        })?;
        self.shared.dynos().remove(id);
        Ok(())
    }

    async fn output(&self, id: DynoId) -> Result<Output, EngineError> {
        let (answer, mut fds) = match self.shared.ask(id, Order::Output(id)).await {
            // It ended while there was no spawner.
            Err(EngineError::Unknown(_)) => return self.shared.output(id),
            answered => answered?,
        };
        match (answer, fds.pop(), fds.pop()) {
            (Answer::Output { dropped_bytes }, Some(stderr), Some(stdout)) => {
                self.shared.dynos().change(id, |dyno| (dyno.output, dyno.is_read) = (None, true));
                Ok(Output { stdout, stderr, dropped_bytes })
            }
            _ => Err(EngineError::Gone),
        }
    }

    async fn resize(&self, id: DynoId, rows: u16, columns: u16) -> Result<(), EngineError> {
        let dynos = self.shared.dynos();
        let dyno = dynos.get(id).ok_or(EngineError::Unknown(id))?;
        let Some(terminal) = &dyno.terminal else { return Ok(()) };
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size).map_err(|source| EngineError::Failed {
            id,
            step: "set window size".to_owned(),
            source: source.into(),
        })
    }

    async fn listening(&self, id: DynoId) -> Result<Vec<u16>, EngineError> {
        Ok(self.shared.pid(id)?.map(ports::listening).unwrap_or_default())
    }

    async fn accepts(
        &self,
        id: DynoId,
        address: Ipv4Addr,
        port: u16,
        at_most: Duration,
    ) -> Result<bool, EngineError> {
        match self.shared.pid(id)? {
            Some(pid) => Ok(ports::accepts(pid, SocketAddrV4::new(address, port), at_most).await),
            None => Ok(false),
        }
    }

    async fn run(&self, id: DynoId, command: &str, at_most: Duration) -> Result<Ran, EngineError> {
        visiting::run(&self.shared, id, command, at_most).await
    }

    async fn running(&self) -> Result<Vec<DynoId>, EngineError> {
        Ok(self.shared.running())
    }

    async fn governed(&self, id: DynoId) -> Result<Governed, EngineError> {
        let (spec, group) = match self.shared.dynos().get(id) {
            Some(dyno) => (dyno.record.spec.clone(), dyno.record.group()),
            None => return Err(EngineError::Unknown(id)),
        };
        let group = self.shared.cgroups.of(group);
        let pressure = group.pressure();
        let group = group.cpu().ok_or(EngineError::Unknown(id))?;
        Ok(Governed { app: spec.app, name: spec.name, class: spec.class, group, pressure })
    }

    async fn when_gone(&self, id: DynoId, will: Option<LastWill>) -> Result<(), EngineError> {
        let files = Files::of(&self.shared.config.dir, id);
        files.write_will(will.as_ref()).map_err(|source| unwritten(id, source))
    }

    async fn usage(&self, id: DynoId) -> Result<Usage, EngineError> {
        let (state, group) = match self.shared.dynos().get(id) {
            Some(dyno) => (dyno.state, dyno.record.group()),
            None => return Err(EngineError::Unknown(id)),
        };
        let State::Ended(ended) = state else {
            return Ok(self.shared.cgroups.of(group).usage());
        };
        Ok(Usage { memory_peak_bytes: ended.memory_peak_bytes, ..Usage::default() })
    }

    async fn runnable(&self, id: DynoId) -> Result<u32, EngineError> {
        let group = self.shared.dynos().get(id).map(|dyno| dyno.record.group());
        let group = group.ok_or(EngineError::Unknown(id))?;
        Ok(self.shared.cgroups.of(group).runnable())
    }
}

fn failed(id: DynoId, failure: &Failure) -> EngineError {
    EngineError::Failed { id, step: failure.step.clone(), source: failure.error() }
}

fn unwritten(id: DynoId, source: io::Error) -> EngineError {
    EngineError::Failed {
        id,
        step: "write down what to do without the governor".to_owned(),
        source,
    }
}
