//! The cell: makes desired dynos real on this machine.

use super::{Role, stop_of};
use crate::config::Config;
use crate::engine::Engine;
use crate::state::StateError;
use crate::state::secrets::Secrets;
use lathe_dynos::cell;
use lathe_dynos::cell::seal::Seal;
use lathe_dynos::clock::Clock;
use lathe_dynos::native::OpenSlug;
use lathe_dynos::spec::{Desired, Observed};
use std::path::PathBuf;
use std::sync::Arc;
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
    engine: &Arc<Engine>,
    logs: &lathe_logs::Sender,
    wires: Wires,
) -> Result<Role, StateError> {
    let config =
        cell::Config { dir: engine_dir(platform), seal: seal(platform)?, clock: Clock::default() };
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

pub(super) fn slug_opener(slugs: &Arc<lathe_slug::Store>) -> OpenSlug {
    let slugs = slugs.clone();
    Box::new(move |id| match slugs.open_slug(&id) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(std::io::Error::other(error)),
    })
}
