//! The governor role: CPU credits of this cell's dynos.

use super::{Role, UpError};
use crate::config::Config;
use crate::engine::Engine;
use lathe_dynos::clock::Clock;
use lathe_dynos::governor::{self, Governor};
use std::sync::Arc;

pub(super) fn start(
    config: &Config,
    engine: &Arc<Engine>,
    logs: &lathe_logs::Sender,
) -> Result<(Governor, Role), UpError> {
    let settings = governor::Config {
        dir: config.data.join("cell/governor"),
        load_limit: config.governor.load_percent,
        clock: Clock::default(),
    };
    let started = Governor::start(settings, engine.clone(), logs.clone());
    let (governor, running) = started.map_err(UpError::Governor)?;
    let role = Role::start("governor", |stop| async move {
        stop.cancelled().await;
        // It waits for a thread; the role's own end waits for it.
        drop(tokio::task::spawn_blocking(move || running.stop()).await);
    });
    Ok((governor, role))
}
