//! Opening the engines: our own always, a Docker daemon's when it is chosen or still has dynos.

use super::{AppImages, Engine};
use crate::config::{Config, EngineKind};
use crate::endpoints::Endpoints;
use crate::host::size;
use lathe_dynos::class::Capacity;
use lathe_dynos::containers::Containers;
use lathe_dynos::docker::{self, DockerConfig, DockerEngine};
use lathe_dynos::native::{self, NativeConfig, NativeEngine, OpenSlug};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Native(#[from] native::OpenError),
    #[error(transparent)]
    Docker(#[from] docker::OpenError),
    #[error("use directory {path}")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Docker(docker::OpenError::Daemon { .. }) => "Start the Docker daemon, or name \
                its socket with --set docker.socket=PATH; `lathe doctor` says more."
                .into(),
            Self::Docker(docker::OpenError::CgroupDriver(_) | docker::OpenError::LiveRestore) => {
                "Then `systemctl restart docker`; running containers stay.".into()
            }
            _ => "`lathe doctor` checks the host and says how to mend it.".into(),
        }
    }
}

/// What both engines of a data directory are told.
struct Here {
    /// What they keep.
    dir: PathBuf,
    /// Made from the directory, so that two platforms on one machine never touch each other's
    /// groups, links or rules.
    instance: String,
    capacity: Capacity,
}

impl Here {
    fn of(config: &Config) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory { path: config.data.clone(), source };
        let data = config.data.canonicalize().map_err(failed)?;
        let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
        let letters = b"abcdefghijklmnopqrstuvwxyz";
        let letter = |byte: &u8| char::from(letters[usize::from(byte % 26)]);
        let mut capacity = size::capacity(config.room);
        if config.engine == EngineKind::Docker {
            // Only our own engine sets CPUs aside.
            capacity.own_cpus = 0;
        }
        Ok(Self {
            dir: data.join("cell"),
            instance: digest.iter().take(5).map(letter).collect(),
            capacity,
        })
    }

    fn docker_dir(&self) -> PathBuf {
        self.dir.join("docker")
    }
}

/// How long clients may wait at doors that nobody answers at. A keeper starts the platform again
/// when another version of it has had its time.
fn sockets_patience(config: &Config) -> Duration {
    const BRIEF: Duration = Duration::from_secs(15);
    match config.kept {
        Some(_) => config.upgrade.start + config.upgrade.silence + BRIEF * 2,
        None => BRIEF,
    }
}

/// Our own engine; what it needs is there before anything listens.
pub async fn open(config: &Config, lathe: &Path, slugs: OpenSlug) -> Result<Opened, OpenError> {
    let Here { dir, instance, capacity } = Here::of(config)?;
    let native = NativeConfig {
        dir,
        instance,
        network: config.network,
        lathe: lathe.to_owned(),
        resolv_conf: None,
        limits: config.archives,
        capacity,
        sockets_patience: sockets_patience(config),
    };
    Ok(Opened(NativeEngine::open(native, slugs).await?))
}

/// Our own engine, before the other is opened.
#[derive(Debug)]
pub struct Opened(pub NativeEngine);

impl Opened {
    /// With the Docker daemon's, if it is needed. `images` are those of the platform that is about
    /// to run.
    pub async fn complete(self, config: &Config, images: AppImages) -> Result<Engine, OpenError> {
        let here = Here::of(config)?;
        let capacity = here.capacity;
        match beside(&self.0, config, here, images).await {
            Ok(docker) => Ok(Engine { native: self.0, docker, chosen: config.engine, capacity }),
            Err(error) => {
                self.abandon().await;
                Err(error)
            }
        }
    }

    /// One that holds no dyno is closed again when the platform does not come up.
    pub async fn abandon(self) {
        if self.0.list().await.is_ok_and(|dynos| dynos.is_empty())
            && let Err(error) = self.0.close(true).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the engine did not close");
        }
    }
}

async fn beside(
    native: &NativeEngine,
    config: &Config,
    here: Here,
    images: AppImages,
) -> Result<Option<DockerEngine>, OpenError> {
    let dir = here.docker_dir();
    let left = dir.exists();
    let docker = DockerConfig {
        dir: dir.clone(),
        instance: here.instance,
        socket: config.docker.socket.clone(),
        network: config.docker.network,
        resolvers: native.resolvers(),
        images: Arc::new(images),
        capacity: here.capacity,
        exits: native.exits(),
    };
    if config.engine == EngineKind::Docker {
        return Ok(Some(DockerEngine::open(docker).await?));
    }
    if !left {
        return Ok(None);
    }
    // Chosen before: what it still runs goes on until it is replaced.
    match DockerEngine::open(docker).await {
        Ok(engine) if !engine.living().is_empty() => Ok(Some(engine)),
        Ok(engine) => {
            engine.close(true).await?;
            drop(engine);
            fs::remove_dir_all(&dir)
                .map_err(|source| OpenError::Directory { path: dir, source })?;
            Ok(None)
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "dynos that a Docker daemon may still run are not seen"
            );
            Ok(None)
        }
    }
}

/// Ends every dyno of a platform that does not run, and removes what the engines made.
pub async fn end_all(config: &Config, lathe: &Path, slugs: OpenSlug) -> Result<(), OpenError> {
    let opened = open(config, lathe, slugs).await?;
    let nowhere = AppImages::new(String::new());
    opened.complete(config, nowhere).await?.close(true).await
}

/// Where the daemon finds our registry.
pub fn registry(config: &Config, endpoints: &Endpoints) -> String {
    match &config.docker.registry {
        Some(host) => format!("{host}:{}", endpoints.api_tls.port()),
        None => endpoints.api_plain.to_string(),
    }
}
