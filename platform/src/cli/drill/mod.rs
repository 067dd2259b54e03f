//! `lathe drill`: a platform of its own is hurt on purpose, and what its visitors notice of it is told.

mod apps;
mod kill;
mod parts;
mod service;
mod site;
mod upgrade;
mod visitors;

use super::CliError;
use super::client::ClientError;
use super::remote::RemoteError;
use crate::config::{Config, Flags};
use crate::host::instance::InstanceError;
use clap::Subcommand;
use std::io;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Drill {
    /// Each part of the platform is killed in turn, again and again, under load; exit status 0 only
    /// if no visitor noticed and everything was back in time
    Kill(kill::Kill),
    /// Lathe is compiled and hosted by itself, and then upgraded to another version of itself, under
    /// load; exit status 0 only if no visitor noticed
    Upgrade(upgrade::Upgrade),
}

/// Why a drill was not carried through.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    #[error("cannot {step}")]
    Step {
        step: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the API does not do it")]
    Client(#[from] ClientError),
    #[error("the sample cannot be pushed")]
    Sample(#[from] RemoteError),
    #[error("the platform cannot be found or ended")]
    Instance(#[from] InstanceError),
    #[error("{what} is not there after {} seconds", after.as_secs())]
    Slow { what: &'static str, after: Duration },
    #[error("the platform was not made a release of {version}: {status}")]
    NotHandedOver { version: String, status: ExitStatus },
    #[error("it was told to stop")]
    Stopped,
}

impl DrillError {
    fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Step { step, source: error.into() }
    }

    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Sample(_) => "See what git said above.".into(),
            Self::NotHandedOver { .. } => "See what `lathe bootstrap` said above.".into(),
            Self::Stopped => "Again, and wait for its end.".into(),
            _ => "Again with --keep-log FILE says more; `lathe doctor` checks the machine.".into(),
        }
    }
}

pub(super) fn drill(config: Config, flags: &Flags, what: &Drill) -> Result<ExitCode, CliError> {
    match what {
        Drill::Kill(how) => kill::kill(config, flags, how),
        Drill::Upgrade(how) => upgrade::upgrade(config, flags, how),
    }
}
