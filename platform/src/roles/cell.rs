//! The cell: makes desired dynos real on this machine.

use super::{Role, UpError, stop_of};
use crate::config::Config;
use crate::host::size;
use crate::state::StateError;
use crate::state::secrets::Secrets;
use lathe_dynos::cell;
use lathe_dynos::cell::seal::Seal;
use lathe_dynos::clock::Clock;
use lathe_dynos::native::{NativeConfig, NativeEngine, OpenSlug};
use lathe_dynos::restart::Backoff;
use lathe_dynos::spec::{Desired, Observed};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Seals the cell's record with the key of the state.
#[derive(Debug)]
struct StateKey(Secrets);

const RECORD: &str = "last-good record of the cell";

impl Seal for StateKey {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        self.0.seal(RECORD, plain)
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.open_sealed(RECORD, sealed).ok()
    }
}

/// What the cell is told, and what it tells.
pub(super) struct Wires {
    pub(super) desired: watch::Receiver<Arc<Desired>>,
    pub(super) observed: watch::Sender<Arc<Observed>>,
    pub(super) stop_dynos: watch::Receiver<bool>,
}

/// The seal of this data directory's record.
pub(super) fn seal(platform: &Config) -> Result<Arc<dyn Seal>, StateError> {
    Ok(Arc::new(StateKey(Secrets::of(&platform.data)?)))
}

pub(super) fn start(
    platform: &Config,
    engine: &Arc<NativeEngine>,
    logs: &lathe_logs::Sender,
    wires: Wires,
) -> Result<Role, StateError> {
    let config = cell::Config {
        dir: engine_dir(platform),
        seal: seal(platform)?,
        backoff: Backoff::default(),
        clock: Clock::default(),
    };
    let (engine, logs) = (engine.clone(), logs.clone());
    let Wires { desired, observed, stop_dynos } = wires;
    Ok(Role::start("cell", |stop| async move {
        let shutdown = async {
            stop.cancelled().await;
            stop_of(&stop_dynos)
        };
        cell::run(config, engine, desired, observed, logs, shutdown).await;
    }))
}

/// What the cell and its engine keep.
pub(super) fn engine_dir(config: &Config) -> PathBuf {
    config.data.join("cell")
}

/// The engine of this data directory. Its short name is made from the directory, so that two
/// platforms on one machine never touch each other's groups, links or rules.
pub(super) fn engine_config(config: &Config, lathe: &Path) -> Result<NativeConfig, UpError> {
    let failed = |source| UpError::Data { path: config.data.clone(), source };
    let data = config.data.canonicalize().map_err(failed)?;
    let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
    let letters = b"abcdefghijklmnopqrstuvwxyz";
    let instance: String =
        digest.iter().take(5).map(|byte| char::from(letters[usize::from(byte % 26)])).collect();
    Ok(NativeConfig {
        dir: data.join("cell"),
        instance,
        network: config.network,
        lathe: lathe.to_owned(),
        resolv_conf: None,
        limits: config.archives,
        capacity: size::capacity(config.room),
        sockets_patience: sockets_patience(config),
    })
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

pub(super) fn slug_opener(slugs: &Arc<lathe_slug::Store>) -> OpenSlug {
    let slugs = slugs.clone();
    Box::new(move |id| match slugs.open_slug(&id) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(std::io::Error::other(error)),
    })
}
