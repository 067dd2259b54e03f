//! Opening the engine: a daemon that fits, a network, and the dynos that an earlier life has left.

use super::daemon::{Daemon, INSTANCE, Trouble};
use super::engine::{DockerEngine, Shared};
use super::image::Images;
use super::watch;
use crate::class::Capacity;
use crate::containers::Exited;
use crate::lock;
use crate::native::Network;
use crate::native::cgroup::{Cgroups, Mounts};
use crate::native::firewall::{self, Rules};
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::{Mutex as AsyncMutex, broadcast};
use tokio::task::JoinSet;

/// One engine on this machine, at one daemon. Several may share a daemon: each touches only what
/// has its own `instance` among its labels.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// How far output was read. Only root may enter it.
    pub dir: PathBuf,
    /// 1 to 6 lower-case letters and digits.
    pub instance: String,
    /// The daemon's.
    pub socket: PathBuf,
    /// Of the dynos; nobody else's.
    pub network: Network,
    pub resolvers: Vec<Ipv4Addr>,
    pub images: Arc<dyn Images>,
    /// What all dynos together may be promised.
    pub capacity: Capacity,
    /// Where ends are told.
    pub exits: broadcast::Sender<Exited>,
}

/// Why the engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another engine uses {0}")]
    Busy(PathBuf),
    #[error("use directory {path}")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("reach the Docker daemon at {socket}")]
    Daemon {
        socket: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "the Docker daemon uses {0:?} for control groups: set \"exec-opts\": \
         [\"native.cgroupdriver=cgroupfs\"] in /etc/docker/daemon.json"
    )]
    CgroupDriver(String),
    #[error(
        "the Docker daemon would take its containers with it: set \"live-restore\": true in \
         /etc/docker/daemon.json"
    )]
    LiveRestore,
    #[error("set up control groups")]
    Cgroups(#[source] io::Error),
    #[error("set up the firewall with nft (Debian package nftables)")]
    Firewall(#[source] io::Error),
}

impl DockerConfig {
    pub(super) fn group(&self) -> String {
        format!("lathe-{}-docker", self.instance)
    }

    pub(super) fn network_name(&self) -> String {
        format!("lathe-{}", self.instance)
    }

    fn table(&self) -> String {
        format!("lathe_{}_docker", self.instance)
    }

    fn link(&self) -> String {
        format!("d{}-", self.instance)
    }

    fn network_request(&self) -> NetworkCreateRequest {
        let subnet = IpamConfig { subnet: Some(self.network.to_string()), ..IpamConfig::default() };
        let option =
            |name: &str, value: String| (format!("com.docker.network.bridge.{name}"), value);
        NetworkCreateRequest {
            name: self.network_name(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam { config: Some(vec![subnet]), ..Ipam::default() }),
            options: Some(HashMap::from([
                option("name", format!("{}bridge", self.link())),
                // No dyno talks to another.
                option("enable_icc", "false".to_owned()),
            ])),
            labels: Some(HashMap::from([(INSTANCE.to_owned(), self.instance.clone())])),
            ..NetworkCreateRequest::default()
        }
    }
}

impl DockerEngine {
    /// Finds the daemon and what runs there of ours.
    pub async fn open(config: DockerConfig) -> Result<Self, OpenError> {
        let lock = take(&config.dir)?;
        let socket = config.socket.clone();
        let unreachable = |trouble| unreachable(&socket, trouble);
        let daemon = fitting(&config.socket, &config.instance).await?;
        let cgroups = Cgroups::open(&config.group()).map_err(OpenError::Cgroups)?;
        rules(&config).apply().map_err(OpenError::Firewall)?;
        daemon.ensure_network(config.network_request()).await.map_err(unreachable)?;
        let shared = Arc::new(Shared {
            daemon,
            cgroups,
            dynos: Mutex::new(BTreeMap::new()),
            adopting: AsyncMutex::new(()),
            tasks: Mutex::new(JoinSet::new()),
            config,
        });
        watch::look(&shared).await.map_err(unreachable)?;
        watch::sweep(&shared);
        shared.spawn(watch::run(Arc::clone(&shared)));
        Ok(Self::new(shared, lock))
    }
}

/// Whether a daemon answers at this socket that dynos may be given to. Changes nothing.
pub async fn examine(socket: &Path) -> Result<(), OpenError> {
    fitting(socket, "").await.map(drop)
}

async fn fitting(socket: &Path, instance: &str) -> Result<Daemon, OpenError> {
    let daemon = Daemon::new(socket, instance).map_err(|trouble| unreachable(socket, trouble))?;
    let info = daemon.info().await.map_err(|trouble| unreachable(socket, trouble))?;
    let driver = info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default();
    if driver != "cgroupfs" {
        return Err(OpenError::CgroupDriver(driver));
    }
    if info.live_restore_enabled != Some(true) {
        return Err(OpenError::LiveRestore);
    }
    Ok(daemon)
}

fn unreachable(socket: &Path, trouble: Trouble) -> OpenError {
    OpenError::Daemon { socket: socket.to_owned(), source: Box::new(trouble) }
}

fn rules(config: &DockerConfig) -> Owned {
    Owned { table: config.table(), link: config.link(), config: config.clone() }
}

/// The firewall's rules with the names they are made from.
struct Owned {
    table: String,
    link: String,
    config: DockerConfig,
}

impl Owned {
    fn apply(&self) -> io::Result<()> {
        Rules {
            table: &self.table,
            links: &self.link,
            network: self.config.network,
            resolvers: &self.config.resolvers,
        }
        .apply()
    }
}

fn take(dir: &Path) -> Result<File, OpenError> {
    let at = |source| OpenError::Directory { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at)?;
    lock::take(dir).map_err(at)?.ok_or_else(|| OpenError::Busy(dir.to_owned()))
}

/// Removes what `open` has set up, once no dyno is left.
pub(super) async fn undo(shared: &Shared) -> Result<(), OpenError> {
    match shared.daemon.remove_network(&shared.config.network_name()).await {
        Ok(()) | Err(Trouble::Missing) => {}
        Err(trouble) => {
            return Err(unreachable(&shared.config.socket, trouble));
        }
    }
    firewall::remove(&shared.config.table()).map_err(OpenError::Firewall)?;
    shared.cgroups.close().map_err(OpenError::Cgroups)?;
    remove_parents(&shared.config.group());
    Ok(())
}

/// The daemon makes a container's group in hierarchies that limit nothing of ours, too, and leaves
/// the groups above it.
pub(super) fn remove_parents(group: &str) {
    let mounts = Mounts::parse(&fs::read_to_string("/proc/self/mounts").unwrap_or_default());
    for root in mounts.v1.values().chain(&mounts.unified) {
        // Not there, or not empty because another dyno is in it.
        drop(fs::remove_dir(root.join(group)));
    }
}
