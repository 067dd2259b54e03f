//! `lathe stop`: ends the platform of a data directory, with or without its dynos.

use super::say::say;
use super::up::UpVerbError;
use super::{CliError, runtime};
use crate::config::Config;
use crate::host::instance::{self, Dynos, InstanceError};
use crate::roles;
use std::time::Duration;

/// Dynos have 30 s to end by themselves; the rest is for what follows.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) fn stop(config: &Config, dynos: Dynos) -> Result<(), CliError> {
    match instance::stop(config, dynos, PATIENCE) {
        // Dynos outlive a platform that was killed; they can be ended without it.
        Err(InstanceError::NotRunning { .. }) if dynos == Dynos::End && config.data.exists() => {
            runtime()?.block_on(roles::end_dynos(config)).map_err(UpVerbError::Up)?;
        }
        stopped => {
            // Nobody is to wait at the door of a platform that is not to come.
            runtime()?.block_on(roles::let_go(config)).map_err(UpVerbError::Up)?;
            stopped?;
        }
    }
    match dynos {
        Dynos::Stay => say!("Stopped. The dynos go on serving; `lathe up` adopts them."),
        Dynos::End => say!("Stopped, with all dynos."),
    }
    Ok(())
}
