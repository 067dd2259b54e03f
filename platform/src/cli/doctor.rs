//! `lathe doctor`: what this machine has, lacks, and how to mend it.

use super::say::say;
use crate::config::Config;
use crate::host::doctor::{self, State};
use crate::stack;
use std::process::ExitCode;

/// Prints every check; the exit status is 1 when the platform would not run.
pub(super) fn examine(config: &Config) -> ExitCode {
    let stacks_built = stack::list(config).is_ok_and(|stacks| !stacks.is_empty());
    let checks = doctor::examine(config, stacks_built);
    for check in &checks {
        say!("{check}");
    }
    let bad = checks.iter().filter(|check| matches!(check.state, State::Bad { .. })).count();
    match bad {
        0 => say!("This machine can run Lathe."),
        1 => say!("One thing keeps this machine from running Lathe."),
        bad => say!("{bad} things keep this machine from running Lathe."),
    }
    ExitCode::from(u8::from(bad > 0))
}
