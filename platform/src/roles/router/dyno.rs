//! The router's dyno: what it is made of, what it is granted, and how it is known again.

use crate::config::Config;
use crate::engine::Engine;
use lathe_dynos::class::{Class, SHARES_OF_CPU};
use lathe_dynos::containers::{
    Containers, EngineError, Known, Mount, MountSource, Signal, Start, Stdio,
};
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
/// The names by which its listening sockets are kept.
const LISTENER_LABELS: [&str; 2] = ["lathe.router.listener", "lathe.router.listener_tls"];

/// The user of the platform's own dynos; those of apps begin above it.
pub(super) const UID: u32 = 199_999;

/// What the dyno sees of the platform, in a directory that it can read.
const SHOWN: &str = "/run/lathe";
pub(super) const TABLE: &str = "routes.json";
pub(super) const KEYRING: &str = "keyring.json";
pub(super) const LINK: &str = "link.sock";

const LATHE: &str = "/usr/local/bin/lathe";
/// How often routers were asked to be others though nothing else has changed.
const TURN: &str = "cell/router-turn";
/// The release that it was started for.
const RELEASE_LABEL: &str = "lathe.router.release";
/// Under the hidden name by which `lathe` is a router; see `cli`.
const VERB: &str = "router";

/// Of the descriptors it is given, after the standard streams: the listening sockets.
const LISTENERS: [RawFd; 2] = [3, 4];

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
    pub(super) public_tls_port: u16,
    /// What of its own log is written.
    pub(super) log: String,
    /// Plain, and for TLS.
    pub(super) listeners: [OwnedFd; 2],
    /// The names by which these are kept.
    pub(super) places: [String; 2],
    /// The release of the system app that this platform is, if it is one.
    pub(super) release: Option<String>,
}

impl Recipe {
    /// Differs when a router started by this would be another one than before.
    pub(super) fn mark(&self) -> io::Result<String> {
        let program = fs::metadata(&self.lathe)?;
        let file = (program.dev(), program.ino(), program.len());
        let written = (program.mtime(), program.mtime_nsec());
        let ports = (self.public_port, self.public_tls_port);
        Ok(format!("{file:?} {written:?} {ports:?} {}", self.places.join(" ")))
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
        let mut labels = BTreeMap::from([(LABEL.to_owned(), mark.to_owned())]);
        labels.extend(LISTENER_LABELS.map(str::to_owned).into_iter().zip(self.places.clone()));
        labels.extend(self.release.clone().map(|release| (RELEASE_LABEL.to_owned(), release)));
        let [plain, tls] = &self.listeners;
        let read_only = |source: &Path, target: &str| Mount {
            source: MountSource::Path(source.to_owned()),
            target: target.into(),
            writable: false,
        };
        let (name, port) = (id.to_string(), self.public_port.to_string());
        let tls_port = self.public_tls_port.to_string();
        let [link, table, keyring] = [LINK, TABLE, KEYRING].map(|name| format!("{SHOWN}/{name}"));
        let what = [LATHE, VERB, &name, "--link", &link, "--table", &table, "--keyring", &keyring];
        let how = ["--public-port", &port, "--public-tls-port", &tls_port, "--log", &self.log];
        let argv = what.into_iter().chain(how);
        Ok(Start {
            id,
            spec,
            labels,
            stdio: Stdio::Logged,
            mounts: vec![read_only(&self.lathe, LATHE), read_only(&self.shown, SHOWN)],
            extra_fds: vec![plain.try_clone()?, tls.try_clone()?, ledger.into()],
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

/// The routers that are there, ended ones too.
pub(super) async fn all(engine: &Engine) -> Result<Vec<Known>, EngineError> {
    engine.labelled(LABEL).await
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
    let mut running = known.iter().filter(|known| known.ended.is_none());
    let found = running.find_map(|known| {
        let mut labels = LISTENER_LABELS.iter().zip(LISTENERS);
        let is_it = |label: &str| known.labels.get(label).is_some_and(|at| at == name);
        let (_, number) = labels.find(|(label, _)| is_it(label))?;
        // One that is leaving has closed it.
        engine.listener_of(known.id, number).ok()
    });
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
