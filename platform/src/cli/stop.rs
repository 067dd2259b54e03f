//! `lathe stop`: ends the platform of a data directory, with or without its dynos.

use super::CliError;
use super::say::say;
use crate::config::Config;
use crate::host::instance::{self, Dynos};
use std::time::Duration;

/// Dynos have 30 s to end by themselves; the rest is for what follows.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) fn stop(config: &Config, dynos: Dynos) -> Result<(), CliError> {
    instance::stop(config, dynos, PATIENCE)?;
    match dynos {
        Dynos::Stay => say!("Stopped. The dynos go on serving; `lathe up` adopts them."),
        Dynos::End => say!("Stopped, with all dynos."),
    }
    Ok(())
}
