//! The seam between the cell and whatever makes containers: native, docker or the fake.

use crate::class::{Class, Shortage};
use crate::spec::{DynoId, DynoSpec};
use lathe_logs::AppId;
use lathe_slug::SlugId;
pub use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::time::timeout;

/// An engine: makes containers, keeps them over our own death, and says how they ended.
///
/// Every call may be made at any time and from several tasks. Calls about a container that is
/// not known answer `Unknown`; calls about one that has ended do nothing and answer `Ok`.
pub trait Containers: Send + Sync + 'static {
    /// Makes and launches one container. Refuses an id it has seen and not forgotten, so that
    /// a repeated request never starts anything twice. After an error nothing is left behind.
    fn start(&self, start: Start) -> impl Future<Output = Result<Started, StartError>> + Send;

    /// All containers not yet forgotten, running and ended, also those of an earlier life of
    /// this process.
    fn list(&self) -> impl Future<Output = Result<Vec<Known>, EngineError>> + Send;

    /// Of all these the ones that bear the label `label`, whatever it says: a few among thousands.
    fn labelled(
        &self,
        label: &str,
    ) -> impl Future<Output = Result<Vec<Known>, EngineError>> + Send {
        async move {
            let known = self.list().await?.into_iter();
            Ok(known.filter(|known| known.labels.contains_key(label)).collect())
        }
    }

    /// Ends from now on. A receiver that lags loses events: `list` has them all.
    fn events(&self) -> broadcast::Receiver<Exited>;

    /// Sends a signal to every process of the container.
    fn signal(
        &self,
        id: DynoId,
        signal: Signal,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Ends every process of the container at once; the end arrives as an event.
    fn kill(&self, id: DynoId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Removes what is still kept about an ended container: record, output, directories.
    fn forget(&self, id: DynoId) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The read ends of a `Stdio::Logged` container's pipes. They end when it has ended and all
    /// is read. Bytes that nobody has read yet are still in them, also after a restart of ours.
    fn output(&self, id: DynoId) -> impl Future<Output = Result<Output, EngineError>> + Send;

    /// Sets the window size of a `Stdio::Terminal` container.
    fn resize(
        &self,
        id: DynoId,
        rows: u16,
        columns: u16,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// The TCP ports on which a process of the container listens, sorted, on any address.
    fn listening(&self, id: DynoId) -> impl Future<Output = Result<Vec<u16>, EngineError>> + Send;

    /// Whether a connection from here to the container's port is taken within a second.
    fn connects(
        &self,
        _id: DynoId,
        address: Ipv4Addr,
        port: u16,
    ) -> impl Future<Output = bool> + Send {
        async move {
            let connect = TcpStream::connect((address, port));
            matches!(timeout(Duration::from_secs(1), connect).await, Ok(Ok(_)))
        }
    }

    /// Whether the container's own program takes a connection from here to its port in time. The
    /// kernel takes connections for a program that has stopped taking any; that is not enough here.
    fn accepts(
        &self,
        id: DynoId,
        address: Ipv4Addr,
        port: u16,
        at_most: Duration,
    ) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// Runs a command by a shell inside the container, as its own process would be run, and ends it
    /// with all it started when it takes longer.
    fn run(
        &self,
        id: DynoId,
        command: &str,
        at_most: Duration,
    ) -> impl Future<Output = Result<Ran, EngineError>> + Send;

    /// The containers that run; cheap enough to be asked many times a second.
    fn running(&self) -> impl Future<Output = Result<Vec<DynoId>, EngineError>> + Send {
        async {
            let known = self.list().await?;
            Ok(known.iter().filter(|known| known.ended.is_none()).map(|known| known.id).collect())
        }
    }

    /// What a governor has to know of a container that runs. An engine whose containers nobody can
    /// govern knows none.
    fn governed(&self, id: DynoId) -> impl Future<Output = Result<Governed, EngineError>> + Send {
        async move { Err(EngineError::Unknown(id)) }
    }

    /// What is to be done about a container within a second of our end, whatever that is; none:
    /// nothing.
    fn when_gone(
        &self,
        _id: DynoId,
        _will: Option<LastWill>,
    ) -> impl Future<Output = Result<(), EngineError>> + Send {
        async { Ok(()) }
    }

    /// What the container uses now.
    fn usage(&self, id: DynoId) -> impl Future<Output = Result<Usage, EngineError>> + Send;

    /// How many of its processes and threads run now, wait for a CPU, or for a disk.
    fn runnable(&self, id: DynoId) -> impl Future<Output = Result<u32, EngineError>> + Send {
        async move { Err(EngineError::Unknown(id)) }
    }
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("dyno {0} has been started before")]
    Repeated(DynoId),
    #[error("dyno {0} was stopped before it began")]
    Withdrawn(DynoId),
    #[error("slug {0} is not in the store")]
    SlugMissing(SlugId),
    #[error("slug {expected} has other content: {actual}")]
    SlugChecksum { expected: SlugId, actual: SlugId },
    #[error("slug {slug} could not be unpacked")]
    SlugUnpack {
        slug: SlugId,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// `step` names what was being done: `mount overlay`, `write pids.max`.
    #[error("{step}")]
    Step {
        step: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    NoRoom(#[from] Shortage),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Why an engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("dyno {0} is not known")]
    Unknown(DynoId),
    #[error("the container engine does not answer")]
    Gone,
    #[error("{step} of dyno {id}")]
    Failed {
        id: DynoId,
        step: String,
        #[source]
        source: io::Error,
    },
}

/// What came of a command inside a container.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ran {
    /// 0..=255, 128 + n for one ended by signal n; none for one that took too long.
    pub status: Option<u8>,
    /// The last line of what it said, cut to a readable length; may be empty.
    pub last_line: String,
}

/// A container has ended; sent once, after its output pipes have been closed by all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exited {
    pub id: DynoId,
    pub ended: Ended,
}

/// Where a logged container's bytes come out.
#[derive(Debug)]
pub struct Output {
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// Bytes lost because the pipes were full while nobody read, since the last call.
    pub dropped_bytes: u64,
}

/// One sample of a container's cgroups.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    pub memory_rss_bytes: u64,
    pub memory_cache_bytes: u64,
    pub memory_swap_bytes: u64,
    pub memory_peak_bytes: u64,
    /// Pages charged to it and given back since its start; 0 where the kernel does not count.
    #[serde(default)]
    pub pages_in: u64,
    #[serde(default)]
    pub pages_out: u64,
    pub cpu_ns: u64,
    /// Processes and threads together.
    pub pids: u32,
    pub oom_kills: u64,
    /// Processes and threads that its limit did not allow.
    #[serde(default)]
    pub pids_denied: u64,
}

/// A container as a governor sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct Governed {
    pub app: AppId,
    /// `web.1`.
    pub name: String,
    pub class: Class,
    pub group: CpuGroup,
    /// `cpu.pressure` of the container, where the kernel has one.
    pub pressure: Option<PathBuf>,
}

/// Where the kernel counts and caps a container's CPU time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CpuGroup {
    /// The directories of `cpu.cfs_quota_us` and of `cpuacct.usage`.
    V1 { cpu: PathBuf, cpuacct: PathBuf },
    /// The directory of `cpu.max` and `cpu.stat`.
    V2(PathBuf),
}

/// One write into one of the kernel's files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastWill {
    pub path: PathBuf,
    pub text: String,
}

/// What to start, beyond the dyno itself: where its bytes go and what else it may see.
#[derive(Debug)]
pub struct Start {
    pub id: DynoId,
    pub spec: DynoSpec,
    /// Kept by the engine across restarts of the cell and given back by `list`.
    pub labels: BTreeMap<String, String>,
    pub stdio: Stdio,
    pub mounts: Vec<Mount>,
    /// Passed as descriptors 3, 4, … of the first process.
    pub extra_fds: Vec<OwnedFd>,
    /// `argv` to execute instead of the dyno command through bash (a build dyno).
    pub argv: Option<Vec<String>>,
}

/// Where the first process reads and writes.
#[derive(Debug)]
pub enum Stdio {
    /// stdin is empty, stdout and stderr go to pipes that the engine keeps open and buffers
    /// while nobody reads; read them with `Containers::output`.
    Logged,
    /// The caller's own descriptors; they end with the caller.
    Given { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    /// A pseudo-terminal inside the container; its master comes back in `Started`.
    Terminal { rows: u16, columns: u16 },
}

/// A host directory or file, or a file-system image, that the dyno sees.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Mount {
    pub source: MountSource,
    /// Absolute path inside; created when missing.
    pub target: PathBuf,
    pub writable: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum MountSource {
    /// Bound as it is.
    Path(PathBuf),
    /// A sparse ext4 image of at most `bytes`, made when missing, mounted for this dyno alone.
    Image { path: PathBuf, bytes: u64 },
}

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    pub pid: u32,
    pub address: Ipv4Addr,
    pub terminal: Option<OwnedFd>,
}

/// A container the engine knows of, running or ended, until it is forgotten.
#[derive(Clone, PartialEq, Debug)]
pub struct Known {
    pub id: DynoId,
    pub pid: u32,
    pub address: Ipv4Addr,
    pub labels: BTreeMap<String, String>,
    pub spec: DynoSpec,
    /// Unix time in milliseconds.
    pub started_ms: u64,
    pub ended: Option<Ended>,
}

/// How a container ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ended {
    /// 0..=255; 128 + n for a process ended by signal n.
    pub status: u8,
    /// The kernel killed a process of it for memory.
    pub oom_killed: bool,
    /// The kernel refused it a process or thread because it had as many as it may.
    #[serde(default)]
    pub pids_denied: bool,
    pub memory_peak_bytes: u64,
    /// Unix time in milliseconds.
    pub at_ms: u64,
}
