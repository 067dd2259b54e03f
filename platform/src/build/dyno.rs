//! The build dyno: made by the same engine as every other, with the compiler in it as its program.

use super::BuildError;
use crate::config::Config;
use lathe_dynos::class::Class;
use lathe_dynos::containers::{
    Containers, Ended, Exited, Mount, MountSource, Start, StartError, Stdio,
};
use lathe_dynos::spec::{DynoId, DynoSpec};
use lathe_logs::AppId;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::unix::pipe;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Says to everybody who lists containers that this one is nobody's dyno, and which build's it is.
const LABEL: &str = "lathe.build";

/// Where a build sees what the platform gives it.
const LATHE: &str = "/usr/local/bin/lathe";
pub(super) const BUILDPACKS: &str = "/usr/share/lathe/buildpacks";
pub(super) const REGISTRY: &str = "/usr/share/lathe/registry";
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const RUST: &str = "/opt/rust";
const MIRROR: &str = "/opt/mirror";

/// The variable by which buildpacks know of downloads at hand.
pub const MIRROR_VARIABLE: &str = "LATHE_MIRROR";

/// Under the hidden name by which `lathe` starts the compiler; see `cli`.
const WORKER: &str = "compile-worker";

/// The engine's step that fails when a disk is damaged.
const MOUNT: &str = "mount image";

/// How long a killed dyno may take to be gone, and the bytes it wrote to arrive.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// The programs that read certificates, by the variables they know.
pub const CA_VARIABLES: [&str; 6] = [
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
];

/// What a build dyno is made from.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) config: &'a Config,
    pub(super) app: &'a str,
    pub(super) uid: u32,
    pub(super) build: &'a str,
    /// Holds source and cache while it runs.
    pub(super) disk: &'a Path,
    pub(super) stack: &'a Path,
    /// This program.
    pub(super) lathe: &'a Path,
    pub(super) buildpacks: &'a Path,
}

impl Plan<'_> {
    fn start(&self, id: DynoId, class: Class, theirs: Theirs) -> Start {
        let spec = DynoSpec {
            app: AppId::new(self.app),
            name: "build.1".into(),
            uid: self.uid,
            stack: self.stack.to_owned(),
            slug: None,
            command: String::new(),
            env: BTreeMap::new(),
            class,
            port: None,
        };
        let Theirs { stdin, stdout, stderr, slug, outcome } = theirs;
        Start {
            id,
            spec,
            labels: BTreeMap::from([(LABEL.into(), self.build.into())]),
            stdio: Stdio::Given { stdin, stdout, stderr },
            mounts: self.mounts(),
            extra_fds: vec![slug, outcome],
            argv: Some(vec![LATHE.into(), WORKER.into()]),
        }
    }

    /// The configured one; none when it is not there any more.
    fn class(&self) -> Option<Class> {
        let build = &self.config.build;
        let class = self.config.classes.named(&build.class)?;
        let of_apps = class.is_for_apps();
        let own = Class { memory_bytes: build.memory_bytes, pids_max: build.pids, ..class.clone() };
        Some(if of_apps { class } else { own })
    }

    fn mounts(&self) -> Vec<Mount> {
        let build = &self.config.build;
        let read_only = |source: &Path, target: &str| Mount {
            source: MountSource::Path(source.to_owned()),
            target: target.into(),
            writable: false,
        };
        let mut mounts = vec![
            read_only(self.lathe, LATHE),
            read_only(self.buildpacks, BUILDPACKS),
            // Source and cache on one file system: buildpacks move and hard-link between them.
            Mount {
                source: MountSource::Image { path: self.disk.to_owned(), bytes: build.disk_bytes },
                target: "/tmp".into(),
                writable: true,
            },
        ];
        mounts.extend(build.ca_bundle.as_deref().map(|bundle| read_only(bundle, CA_BUNDLE)));
        mounts.extend(build.registry.as_deref().map(|dir| read_only(dir, REGISTRY)));
        mounts.extend(build.rust_toolchain.as_deref().map(|tools| read_only(tools, RUST)));
        mounts.extend(build.mirror.as_deref().map(|mirror| read_only(mirror, MIRROR)));
        mounts
    }
}

/// The environment that every program of a build gets from the platform.
pub(super) fn environment(config: &Config) -> BTreeMap<String, String> {
    let build = &config.build;
    let mut environment = BTreeMap::new();
    if build.ca_bundle.is_some() {
        environment.extend(CA_VARIABLES.map(|name| (name.to_owned(), CA_BUNDLE.to_owned())));
    }
    if build.rust_toolchain.is_some() {
        environment.insert("PATH".into(), format!("{}:{RUST}/bin", lathe_compiler::PATH));
    }
    if build.mirror.is_some() {
        environment.insert(MIRROR_VARIABLE.into(), MIRROR.into());
    }
    environment.extend(build.env.clone());
    environment
}

/// The disk that an app's builds have to themselves, kept from one to the next.
pub fn cache_of(data: &Path, app: &str) -> PathBuf {
    data.join("cache").join(format!("{app}.img"))
}

/// Our ends of a build's pipes.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) job: File,
    pub(super) transcript: pipe::Receiver,
    pub(super) slug: File,
    pub(super) outcome: File,
}

/// The dyno's ends; given away with its start.
#[derive(Debug)]
struct Theirs {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    slug: OwnedFd,
    outcome: OwnedFd,
}

fn pipes() -> std::io::Result<(Ends, Theirs)> {
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(std::io::Error::from);
    let (stdin, job) = pipe()?;
    let (transcript, stdout) = pipe()?;
    let (slug_read, slug) = pipe()?;
    let (outcome_read, outcome) = pipe()?;
    let ends = Ends {
        job: job.into(),
        transcript: pipe::Receiver::from_owned_fd(transcript)?,
        slug: slug_read.into(),
        outcome: outcome_read.into(),
    };
    let stderr = stdout.try_clone()?;
    Ok((ends, Theirs { stdin, stdout, stderr, slug, outcome }))
}

/// A started build dyno, which somebody has to wait for.
#[derive(Debug)]
pub(super) struct Dyno {
    id: DynoId,
    exits: Receiver<Exited>,
}

/// Starts it. A disk that cannot be mounted is made anew: it holds nothing but a cache.
pub(super) async fn start(
    engine: &impl Containers,
    plan: &Plan<'_>,
) -> Result<(Dyno, Ends), BuildError> {
    match try_start(engine, plan).await {
        Err(BuildError::Start(StartError::Step { step, source })) if step.starts_with(MOUNT) => {
            tracing::warn!(
                error = &source as &dyn std::error::Error,
                image = %plan.disk.display(),
                "a build's disk is damaged and made anew"
            );
            std::fs::remove_file(plan.disk)
                .map_err(|source| BuildError::Start(StartError::Step { step, source }))?;
            try_start(engine, plan).await
        }
        started => started,
    }
}

async fn try_start(engine: &impl Containers, plan: &Plan<'_>) -> Result<(Dyno, Ends), BuildError> {
    let (ends, theirs) = pipes().map_err(BuildError::Pipe)?;
    let id = DynoId::random();
    // Before the start, so that no end is missed.
    let exits = engine.events();
    let class = plan.class().ok_or_else(|| BuildError::Class(plan.config.build.class.clone()))?;
    engine.start(plan.start(id, class, theirs)).await.map_err(BuildError::Start)?;
    Ok((Dyno { id, exits }, ends))
}

impl Dyno {
    /// Waits for the end of every process in it.
    pub(super) async fn ended(&mut self, engine: &impl Containers) -> Result<Ended, BuildError> {
        loop {
            match self.exits.recv().await {
                Ok(exited) if exited.id == self.id => return Ok(exited.ended),
                Ok(_) => {}
                // The list knows what the events have lost.
                Err(RecvError::Lagged(_) | RecvError::Closed) => {
                    let known = engine.list().await.map_err(BuildError::Engine)?;
                    match known.into_iter().find(|known| known.id == self.id) {
                        Some(known) if known.ended.is_none() => {}
                        Some(lathe_dynos::containers::Known { ended: Some(ended), .. }) => {
                            return Ok(ended);
                        }
                        _ => return Err(BuildError::Silent { status: 137 }),
                    }
                }
            }
        }
    }

    /// Ends it, if it has not ended, and waits until nothing of it runs.
    pub(super) async fn kill(&mut self, engine: &impl Containers) -> Result<Ended, BuildError> {
        engine.kill(self.id).await.map_err(BuildError::Engine)?;
        if let Ok(ended) = tokio::time::timeout(KILL_TIMEOUT, self.ended(engine)).await {
            return ended;
        }
        tracing::error!(dyno = %self.id, "a build dyno does not end");
        Err(BuildError::Silent { status: 137 })
    }

    pub(super) async fn forget(&self, engine: &impl Containers) {
        if let Err(error) = engine.forget(self.id).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a build dyno stays known");
        }
    }
}

/// Ends build dynos that outlived the platform they worked for.
pub(super) async fn end_leftovers(engine: &impl Containers) -> Result<usize, BuildError> {
    let exits = engine.events();
    let left = engine.labelled(LABEL).await.map_err(BuildError::Engine)?;
    let count = left.len();
    for known in left {
        let mut dyno = Dyno { id: known.id, exits: exits.resubscribe() };
        if known.ended.is_none() {
            dyno.kill(engine).await?;
        }
        dyno.forget(engine).await;
    }
    Ok(count)
}
