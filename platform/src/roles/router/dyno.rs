//! The router's dyno: what it is made of, what it is granted, and how it is known again.

use crate::config::Config;
use crate::engine::Engine;
use lathe_dynos::class::{Class, SHARES_OF_CPU};
use lathe_dynos::containers::{Containers, Known, Mount, MountSource, Signal, Start, Stdio};
use lathe_dynos::native::{Grants, KeptSocket, NativeEngine};
use lathe_dynos::spec::{DynoId, DynoSpec, SYSTEM_APP};
use lathe_logs::AppId;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What it was started as: of which program, listening where.
const LABEL: &str = "lathe.router";
/// The name by which its listening socket is kept.
const LISTENER_LABEL: &str = "lathe.router.listener";

/// The user of the platform's own dynos; those of apps begin above it.
pub(super) const UID: u32 = 199_999;

/// What the dyno sees of the platform, in a directory that it can read.
const SHOWN: &str = "/run/lathe";
pub(super) const TABLE: &str = "routes.json";
pub(super) const LINK: &str = "link.sock";

const LATHE: &str = "/usr/local/bin/lathe";
/// How often routers were asked to be others though nothing else has changed.
const TURN: &str = "cell/router-turn";
/// The release that it was started for.
const RELEASE_LABEL: &str = "lathe.router.release";
/// Under the hidden name by which `lathe` is a router; see `cli`.
const VERB: &str = "router";

/// Of the descriptors it is given, after the standard streams.
const LISTENER: RawFd = 3;

/// Far beyond what ten thousand connections take.
const MEMORY_BYTES: u64 = 1 << 30;
const PIDS_MAX: u32 = 512;
/// It has nothing to write.
const DISK_BYTES: u64 = 1 << 20;
/// Ahead of the dynos it serves.
const CPUS: u32 = 8;

/// What the dyno is shown.
pub(super) fn shown(config: &Config) -> PathBuf {
    config.data.join("cell/router")
}

/// How a router is made, again and again.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) lathe: PathBuf,
    pub(super) stack: PathBuf,
    pub(super) shown: PathBuf,
    pub(super) public_port: u16,
    /// What of its own log is written.
    pub(super) log: String,
    pub(super) listener: OwnedFd,
    /// The name by which the listener is kept.
    pub(super) place: String,
    /// The release of the system app that this platform is, if it is one.
    pub(super) release: Option<String>,
}

impl Recipe {
    /// Differs when a router started by this would be another one than before.
    pub(super) fn mark(&self) -> io::Result<String> {
        let program = fs::metadata(&self.lathe)?;
        let file = (program.dev(), program.ino(), program.len());
        let written = (program.mtime(), program.mtime_nsec());
        Ok(format!("{file:?} {written:?} {} {}", self.public_port, self.place))
    }

    /// `ledger` is where it counts the lines it writes.
    pub(super) fn start(&self, id: DynoId, mark: &str, ledger: File) -> io::Result<Start> {
        let spec = DynoSpec {
            app: AppId::new(SYSTEM_APP),
            name: "router.1".into(),
            uid: UID,
            stack: self.stack.clone(),
            slug: None,
            command: String::new(),
            env: BTreeMap::new(),
            class: class(),
            port: None,
        };
        let release = self.release.as_deref().map(|release| (RELEASE_LABEL, release));
        let labels = [(LABEL, mark), (LISTENER_LABEL, &*self.place)].into_iter().chain(release);
        let read_only = |source: &Path, target: &str| Mount {
            source: MountSource::Path(source.to_owned()),
            target: target.into(),
            writable: false,
        };
        let (name, port) = (id.to_string(), self.public_port.to_string());
        let (link, table) = (format!("{SHOWN}/{LINK}"), format!("{SHOWN}/{TABLE}"));
        let what = [LATHE, VERB, &name, "--link", &link, "--table", &table];
        let how = ["--public-port", &port, "--log", &self.log];
        let argv = what.into_iter().chain(how);
        Ok(Start {
            id,
            spec,
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            stdio: Stdio::Logged,
            mounts: vec![read_only(&self.lathe, LATHE), read_only(&self.shown, SHOWN)],
            extra_fds: vec![self.listener.try_clone()?, ledger.into()],
            argv: Some(argv.map(str::to_owned).collect()),
        })
    }
}

/// It connects to dynos, which only the host may.
pub(super) const GRANTS: Grants = Grants { host_network: true };

fn class() -> Class {
    Class {
        name: "router".into(),
        memory_bytes: MEMORY_BYTES,
        swap_bytes: 0,
        cpu_shares: CPUS * SHARES_OF_CPU,
        cpu_millis_max: None,
        credit: None,
        own_cpus: 0,
        pids_max: PIDS_MAX,
        disk_bytes: DISK_BYTES,
        price_cents: None,
    }
}

/// What a router was started as; none of any other dyno.
pub(super) fn mark_of(known: &Known) -> Option<&str> {
    known.labels.get(LABEL).map(String::as_str)
}

pub(super) fn release_of(known: &Known) -> Option<&String> {
    known.labels.get(RELEASE_LABEL)
}

/// Part of what a router is to be now. It is a file: whoever is the platform next shall not forget.
pub(super) fn turn(data: &Path) -> u64 {
    fs::read_to_string(data.join(TURN)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Another router than there is shall serve, for no other reason.
pub(super) fn next_turn(data: &Path) -> io::Result<()> {
    let text = format!("{}\n", turn(data) + 1);
    lathe_slug::fs::atomic_write(&data.join(TURN), text.as_bytes(), 0o600)
}

/// The listening socket of this name, from a router that has it still: with platform and spawner
/// dead nobody else has.
pub(in crate::roles) async fn listener(engine: &NativeEngine, name: &str) -> Option<KeptSocket> {
    let known = engine.list().await.ok()?;
    let has = |known: &&Known| {
        known.ended.is_none() && known.labels.get(LISTENER_LABEL).is_some_and(|label| label == name)
    };
    // One that is leaving has closed it.
    let found =
        known.iter().filter(has).find_map(|known| engine.listener_of(known.id, LISTENER).ok());
    found.map(|socket| KeptSocket { name: name.to_owned(), socket })
}

/// Has every router finish what it has.
pub(super) async fn relieve_all(engine: &Engine) {
    for known in engine.list().await.unwrap_or_default() {
        if known.ended.is_none() && mark_of(&known).is_some() {
            // One that ends meanwhile is as good.
            drop(engine.signal(known.id, Signal::SIGTERM).await);
        }
    }
}
