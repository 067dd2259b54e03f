//! Opening the engine: what the machine must have, and what an earlier life has left.

use super::address::Network;
use super::berths::{self, BerthId, Berths};
use super::cgroup::Cgroups;
use super::cpuset::CpuSets;
use super::dynos::{Dyno, Dynos, State};
use super::engine::{NativeEngine, Shared};
use super::firewall::Rules;
use super::network::Plan;
use super::record::{Files, Streams};
use super::slugs::{OpenSlug, Slugs};
use super::{container, firewall, keeper, records, room, strays};
use crate::class::Capacity;
use crate::lock;
use lathe_slug::UnpackLimits;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

/// A spawner must come up within this.
const SPAWNER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where systemd-resolved lists the real name servers, when `/etc/resolv.conf` names its stub.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Ends kept for a receiver that is slow.
const EXITS_KEPT: usize = 1024;

/// One engine on this machine. Several may run side by side with different values in every field
/// but `lathe` and `resolv_conf`.
#[derive(Clone, Debug)]
pub struct NativeConfig {
    /// Records, sockets, unpacked slugs. A local file system; only root may enter it.
    pub dir: PathBuf,
    /// 1 to 6 lower-case letters and digits: names the engine's control groups, network links
    /// and firewall table.
    pub instance: String,
    pub network: Network,
    /// The executable that serves `spawner --dir <dir>` by calling [`super::spawner::run`].
    pub lathe: PathBuf,
    /// The dynos' name servers; none = the machine's own.
    pub resolv_conf: Option<PathBuf>,
    /// How much a slug may hold.
    pub limits: UnpackLimits,
    /// What all dynos together may be promised.
    pub capacity: Capacity,
    /// How long listening sockets are kept open while nobody accepts from them: an upgrade takes a
    /// second or two.
    pub sockets_patience: Duration,
}

/// Why the engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("instance name {0:?} is not 1 to 6 lower-case letters and digits")]
    Instance(String),
    #[error("the container engine needs root")]
    NotRoot,
    #[error("another engine uses {0}")]
    Busy(PathBuf),
    #[error("use directory {path}")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("read name servers from {path}")]
    NameServers {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("set up control groups")]
    Cgroups(#[source] io::Error),
    #[error("switch on packet forwarding")]
    Forwarding(#[source] io::Error),
    #[error("set up the firewall with nft (Debian package nftables)")]
    Firewall(#[source] io::Error),
    #[error("remove network links that no dyno has")]
    Links(#[source] io::Error),
    #[error("remove what is left of dyno or berth {id}")]
    Janitor {
        id: Uuid,
        #[source]
        source: io::Error,
    },
    #[error("reach the spawner, which logs to {log}")]
    Spawner {
        log: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the opening was interrupted")]
    Interrupted,
}

impl NativeConfig {
    pub(super) fn group(&self) -> String {
        format!("lathe-{}", self.instance)
    }

    pub(super) fn table(&self) -> String {
        format!("lathe_{}", self.instance)
    }

    fn links(&self) -> String {
        format!("l{}-", self.instance)
    }

    /// The cable to `address`. The name of the host's end has at most 15 bytes, as the kernel
    /// wants.
    pub(super) fn plan(&self, address: Ipv4Addr) -> Plan {
        let link = format!("{}{:x}", self.links(), self.network.offset(address));
        Plan { link, address, gateway: self.network.gateway() }
    }
}

impl NativeEngine {
    /// Starts the engine or re-joins what an earlier one has left running, and removes what is
    /// no dyno any more.
    pub async fn open(config: NativeConfig, slugs: OpenSlug) -> Result<Self, OpenError> {
        let prepared = tokio::task::spawn_blocking(move || prepare(config, slugs));
        let (shared, lock) = prepared.await.map_err(|_| OpenError::Interrupted)??;
        let shared = Arc::new(shared);
        let joined = tokio::time::timeout(SPAWNER_TIMEOUT, keeper::join(&shared)).await;
        let link =
            joined.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|source| {
                OpenError::Spawner { log: keeper::log(&shared.config.dir), source }
            })?;
        shared.link.send_replace(Some(Arc::clone(&link)));
        let keeper = tokio::spawn(keeper::keep(Arc::clone(&shared), link));
        let berths = tokio::spawn(berths::keep_ready(Arc::clone(&shared)));
        Ok(Self::new(shared, [keeper, berths], lock))
    }
}

fn prepare(config: NativeConfig, slugs: OpenSlug) -> Result<(Shared, File), OpenError> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(1..=6).contains(&config.instance.len()) || !config.instance.chars().all(valid) {
        return Err(OpenError::Instance(config.instance));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(OpenError::NotRoot);
    }
    let lock = prepare_directory(&config.dir)?;
    let cgroups = Cgroups::open(&config.group()).map_err(OpenError::Cgroups)?;
    let cpusets = CpuSets::open(&config.group()).map_err(OpenError::Cgroups)?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(OpenError::Forwarding)?;
    let resolv_conf = read_resolv_conf(config.resolv_conf.as_deref())?;
    Rules {
        table: &config.table(),
        links: &config.links(),
        network: config.network,
        resolvers: &resolvers(&resolv_conf),
    }
    .apply()
    .map_err(OpenError::Firewall)?;
    let dynos = adopt(&config.dir, &cgroups, &cpusets)?;
    let running = || dynos.iter().map(|(_, dyno)| dyno).filter(|dyno| dyno.state == State::Running);
    let linked = running().map(|dyno| dyno.record.link.as_str()).collect();
    strays::remove_links(&config.links(), &linked).map_err(OpenError::Links)?;
    let used: Vec<_> =
        running().filter_map(|dyno| Some((dyno.record.spec.slug?, dyno.record.spec.uid))).collect();
    let directory = config.dir.join("slugs");
    let slugs = Slugs::adopt(directory.clone(), slugs, config.limits, &used)
        .map_err(|source| OpenError::Directory { path: directory, source })?;
    let newest = dynos.iter().map(|(_, dyno)| dyno).max_by_key(|dyno| dyno.record.started_ms);
    let last_address = newest.map_or(config.network.gateway(), |dyno| dyno.record.address);
    let shared = Shared {
        berths: Berths::new(last_address),
        cgroups,
        cpusets,
        slugs,
        resolv_conf,
        dynos: Mutex::new(dynos),
        link: watch::Sender::new(None),
        kept: Mutex::default(),
        exits: broadcast::Sender::new(EXITS_KEPT),
        config,
    };
    room::part(&shared);
    Ok((shared, lock))
}

/// Makes the directories, takes the lock, and after a reboot forgets everything: no dyno
/// survives one, and a tree that was not synced may be damaged.
fn prepare_directory(dir: &Path) -> Result<File, OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        |source| OpenError::Directory { path, source }
    };
    let make =
        |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path));
    make(dir)?;
    let lock = lock::take(dir).map_err(at(dir))?;
    let lock = lock.ok_or_else(|| OpenError::Busy(dir.to_owned()))?;
    let boot = fs::read("/proc/sys/kernel/random/boot_id").map_err(at(dir))?;
    let path = dir.join("boot");
    let same = fs::read(&path).is_ok_and(|before| before == boot);
    if !same {
        records::clear_away(dir).map_err(at(dir))?;
    }
    strays::unmount_below(dir, &records::path(dir)).map_err(at(dir))?;
    for name in ["dynos", "slugs", "scratch"] {
        let path = dir.join(name);
        if !same && path.exists() {
            fs::remove_dir_all(&path).map_err(at(&path))?;
        }
        make(&path)?;
    }
    records::lay_out(dir).map_err(at(dir))?;
    if !same {
        // Never half written, and not at all on a full disk that it is on already: by a wrong one
        // every dyno that runs would be forgotten.
        let new = dir.join(".boot");
        fs::write(&new, boot).and_then(|()| fs::rename(&new, &path)).map_err(at(&path))?;
    }
    Ok(lock)
}

/// The dynos on record; whatever has no complete record, or a group and no record, is removed.
fn adopt(dir: &Path, cgroups: &Cgroups, cpusets: &CpuSets) -> Result<Dynos, OpenError> {
    let mut dynos = Dynos::default();
    let recorded =
        Files::all(dir).map_err(|source| OpenError::Directory { path: dir.to_owned(), source })?;
    for id in recorded {
        let files = Files::of(dir, id);
        if let (Ok(record), Some(pid)) = (files.record(), files.pid()) {
            let state = files.end().map_or(State::Running, State::Ended);
            let logged = state == State::Running && record.streams == Streams::Logged;
            let output = logged.then(|| container::kept_output(pid).ok()).flatten();
            dynos.insert(Dyno { record, pid, state, terminal: None, output, is_read: false });
        }
    }
    let running = dynos.iter().filter(|(_, dyno)| dyno.state == State::Running);
    let known: BTreeSet<BerthId> = running.map(|(_, dyno)| dyno.record.group()).collect();
    let janitor = |id: BerthId| move |source| OpenError::Janitor { id: id.0, source };
    for id in cgroups.all().map_err(OpenError::Cgroups)? {
        if !known.contains(&id) {
            cgroups.of(id).remove().map_err(janitor(id))?;
        }
    }
    for id in cpusets.held().map_err(OpenError::Cgroups)? {
        if !known.contains(&id) {
            cpusets.leave(id).map_err(janitor(id))?;
        }
    }
    for id in Files::all(dir).unwrap_or_default() {
        if !dynos.contains(id) {
            Files::of(dir, id).remove().map_err(janitor(BerthId(id.0)))?;
        }
    }
    Ok(dynos)
}

/// The machine's name servers, but not a stub that only the machine itself can reach.
fn read_resolv_conf(given: Option<&Path>) -> Result<String, OpenError> {
    let path = given.unwrap_or(Path::new("/etc/resolv.conf"));
    let text = fs::read_to_string(path)
        .map_err(|source| OpenError::NameServers { path: path.to_owned(), source })?;
    let stub = given.is_none() && resolvers(&text).iter().any(Ipv4Addr::is_loopback);
    Ok(if stub { fs::read_to_string(RESOLVED).unwrap_or(text) } else { text })
}

pub(super) fn resolvers(resolv_conf: &str) -> Vec<Ipv4Addr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .collect()
}

/// Removes what `prepare` has set up, once no dyno is left.
pub(super) fn undo(shared: &Shared) -> Result<(), OpenError> {
    shared.berths.settle();
    firewall::remove(&shared.config.table()).map_err(OpenError::Firewall)?;
    let closed = shared.cgroups.close().and_then(|()| shared.cpusets.close());
    closed.map_err(OpenError::Cgroups)?;
    let dir = &shared.config.dir;
    let at = |source| OpenError::Directory { path: dir.clone(), source };
    // What could not be ended is known to the next engine by its record.
    if shared.dynos().first().is_some() {
        return Ok(());
    }
    records::clear_away(dir).map_err(at)
}
