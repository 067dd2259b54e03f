//! The engine as its callers see it: the daemon is asked, the kernel is asked when it is not needed.

use super::daemon::{Daemon, Trouble};
use super::open::{self, DockerConfig, OpenError};
use super::{exec, output, starting, watch};
use crate::containers::{
    Containers, EngineError, Exited, Governed, Known, Output, Ran, Signal, Start, StartError,
    Started, Usage,
};
use crate::native::berths::BerthId;
use crate::native::cgroup::{Cgroups, Group};
use crate::native::ports;
use crate::spec::{DynoId, DynoSpec};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, broadcast};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How long killed dynos may take to be gone when the engine closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The engine. Dropping it leaves every dyno running, for the next engine to adopt.
#[derive(Debug)]
pub struct DockerEngine {
    shared: Arc<Shared>,
    _lock: File,
}

/// What the engine and its tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: DockerConfig,
    pub(super) daemon: Daemon,
    pub(super) cgroups: Cgroups,
    pub(super) dynos: Mutex<BTreeMap<DynoId, Dyno>>,
    /// One container after the other, whoever looks.
    pub(super) adopting: AsyncMutex<()>,
    pub(super) tasks: Mutex<JoinSet<()>>,
}

/// A container that the engine has not forgotten.
#[derive(Clone, Debug)]
pub(super) struct Dyno {
    pub(super) known: Known,
    /// The daemon's name of it; empty until it is made.
    pub(super) container: String,
    pub(super) starting: bool,
    /// Seen while its group was there: the group goes with it.
    pub(super) pids_denied: u64,
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        self.shared.tasks().abort_all();
    }
}

impl DockerEngine {
    pub(super) fn new(shared: Arc<Shared>, lock: File) -> Self {
        Self { shared, _lock: lock }
    }

    /// Whether it is one of its own that is not forgotten.
    pub fn knows(&self, id: DynoId) -> bool {
        self.shared.knows(id)
    }

    /// What each dyno is that has not ended.
    pub fn living(&self) -> Vec<DynoSpec> {
        let dynos = self.shared.dynos();
        let living = dynos.values().filter(|dyno| dyno.known.ended.is_none());
        living.map(|dyno| dyno.known.spec.clone()).collect()
    }

    /// Closes the engine. With `stop_dynos` every dyno is killed, and nothing of ours is left at
    /// the daemon but images.
    pub async fn close(&self, stop_dynos: bool) -> Result<(), OpenError> {
        if !stop_dynos {
            return Ok(());
        }
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        loop {
            let id = self.shared.dynos().keys().next().copied();
            let Some(id) = id.filter(|_| Instant::now() < deadline) else { break };
            // One that ends meanwhile is as good as killed.
            drop(self.kill(id).await);
            if !matches!(self.forget(id).await, Ok(()) | Err(EngineError::Unknown(_))) {
                sleep(Duration::from_millis(20)).await;
            }
        }
        self.shared.tasks().abort_all();
        open::undo(&self.shared).await
    }
}

impl Shared {
    pub(super) fn dynos(&self) -> MutexGuard<'_, BTreeMap<DynoId, Dyno>> {
        self.dynos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    pub(super) fn knows(&self, id: DynoId) -> bool {
        self.dynos().contains_key(&id)
    }

    pub(super) fn has_ended(&self, id: DynoId) -> bool {
        self.dynos().get(&id).is_none_or(|dyno| dyno.known.ended.is_some())
    }

    fn dyno(&self, id: DynoId) -> Result<Dyno, EngineError> {
        self.dynos().get(&id).cloned().ok_or(EngineError::Unknown(id))
    }

    /// Our own group of a dyno, which has its limits.
    pub(super) fn limits(&self, id: DynoId) -> Group {
        self.cgroups.of(BerthId(id.0))
    }

    /// The group that the daemon has made for the container, below ours.
    pub(super) fn group(&self, dyno: &Dyno) -> Group {
        self.limits(dyno.known.id).child(&dyno.container)
    }
}

/// The first process of a container: it reaps, and passes signals on to the dyno's own.
pub(super) fn is_first(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let spaces = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    spaces.and_then(|spaces| spaces.split_whitespace().next_back()) == Some("1")
}

impl Containers for DockerEngine {
    async fn start(&self, start: Start) -> Result<Started, StartError> {
        // A task of its own: a start that nobody waits for any more is still finished or undone.
        let started = tokio::spawn(starting::start(Arc::clone(&self.shared), start)).await;
        started.unwrap_or(Err(StartError::Engine(EngineError::Gone)))
    }

    async fn list(&self) -> Result<Vec<Known>, EngineError> {
        watch::look(&self.shared).await.map_err(|_| EngineError::Gone)?;
        let dynos = self.shared.dynos();
        Ok(dynos.values().filter(|dyno| !dyno.starting).map(|dyno| dyno.known.clone()).collect())
    }

    fn events(&self) -> broadcast::Receiver<Exited> {
        self.shared.config.exits.subscribe()
    }

    /// The kernel knows its processes; a daemon would tell the first one only.
    async fn signal(&self, id: DynoId, signal: Signal) -> Result<(), EngineError> {
        let dyno = self.shared.dyno(id)?;
        let processes = self.shared.group(&dyno).processes();
        let (first, others): (Vec<i32>, Vec<i32>) = processes.iter().partition(|p| is_first(**p));
        // The end of the first is the end of all.
        let to = if signal == Signal::SIGKILL || others.is_empty() { first } else { others };
        for pid in to {
            match kill(Pid::from_raw(pid), signal) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(errno) => {
                    let step = format!("send {signal}");
                    return Err(EngineError::Failed { id, step, source: errno.into() });
                }
            }
        }
        Ok(())
    }

    async fn kill(&self, id: DynoId) -> Result<(), EngineError> {
        self.signal(id, Signal::SIGKILL).await
    }

    async fn forget(&self, id: DynoId) -> Result<(), EngineError> {
        let dyno = self.shared.dyno(id)?;
        if dyno.known.ended.is_none() {
            let source = io::Error::from_raw_os_error(libc::EBUSY);
            return Err(EngineError::Failed { id, step: "forget".to_owned(), source });
        }
        match self.shared.daemon.remove(&dyno.container, false).await {
            Ok(()) | Err(Trouble::Missing) => {}
            Err(trouble) => return Err(trouble.of(id, "remove the container")),
        }
        watch::drop_dyno(&self.shared, id);
        Ok(())
    }

    async fn output(&self, id: DynoId) -> Result<Output, EngineError> {
        let dyno = self.shared.dyno(id)?;
        output::open(&self.shared, id, dyno.container).map_err(|source| EngineError::Failed {
            id,
            step: "make pipes".to_owned(),
            source,
        })
    }

    async fn resize(&self, id: DynoId, rows: u16, columns: u16) -> Result<(), EngineError> {
        let dyno = self.shared.dyno(id)?;
        if dyno.known.ended.is_some() {
            return Ok(());
        }
        let resized = self.shared.daemon.resize(&dyno.container, rows, columns).await;
        resized.map_err(|trouble| trouble.of(id, "set window size"))
    }

    async fn listening(&self, id: DynoId) -> Result<Vec<u16>, EngineError> {
        let dyno = self.shared.dyno(id)?;
        let running = dyno.known.ended.is_none();
        Ok(if running { ports::listening(dyno.known.pid) } else { Vec::new() })
    }

    async fn accepts(
        &self,
        id: DynoId,
        address: Ipv4Addr,
        port: u16,
        at_most: Duration,
    ) -> Result<bool, EngineError> {
        let dyno = self.shared.dyno(id)?;
        let door = SocketAddrV4::new(address, port);
        Ok(dyno.known.ended.is_none() && ports::accepts(dyno.known.pid, door, at_most).await)
    }

    async fn run(&self, id: DynoId, command: &str, at_most: Duration) -> Result<Ran, EngineError> {
        let dyno = self.shared.dyno(id)?;
        exec::run(&self.shared, &dyno, command, at_most).await
    }

    async fn running(&self) -> Result<Vec<DynoId>, EngineError> {
        let dynos = self.shared.dynos();
        let running = |dyno: &&Dyno| !dyno.starting && dyno.known.ended.is_none();
        Ok(dynos.values().filter(running).map(|dyno| dyno.known.id).collect())
    }

    async fn governed(&self, id: DynoId) -> Result<Governed, EngineError> {
        let Known { spec, .. } = self.shared.dyno(id)?.known;
        let group = self.shared.limits(id);
        let pressure = group.pressure();
        let group = group.cpu().ok_or(EngineError::Unknown(id))?;
        Ok(Governed { app: spec.app, name: spec.name, class: spec.class, group, pressure })
    }

    async fn usage(&self, id: DynoId) -> Result<Usage, EngineError> {
        let dyno = self.shared.dyno(id)?;
        if let Some(ended) = dyno.known.ended {
            let memory_peak_bytes = ended.memory_peak_bytes;
            return Ok(Usage { memory_peak_bytes, ..Usage::default() });
        }
        let usage = self.shared.group(&dyno).usage();
        if let Some(dyno) = self.shared.dynos().get_mut(&id) {
            dyno.pids_denied = dyno.pids_denied.max(usage.pids_denied);
        }
        Ok(usage)
    }
}
