//! `lathe bootstrap`: a platform that hosts itself, on a bare machine; and the check that it can.

mod check;
mod hand_over;

use super::CliError;
use crate::config::{Config, Flags};
use clap::{Args, Subcommand};
use hand_over::HandOverError;
use lathe_bootstrap::CheckError;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::task::JoinError;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Bootstrap {
    #[command(flatten)]
    host: hand_over::HandOver,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Rebuild Lathe in stages, each built by the slug before, and compare the slugs bit for bit
    Check(check::Check),
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("cannot make a directory for the stages")]
    Room(#[source] io::Error),
    #[error("cannot tell which executable this is")]
    Executable(#[source] io::Error),
    #[error("the check could not be done")]
    Check(#[from] CheckError),
    #[error("the check has broken off")]
    Broken(#[source] JoinError),
    #[error("the platform is not a release of itself yet")]
    HandOver(#[from] HandOverError),
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl BootstrapError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Check(_) => {
                "With --keep DIR the logs and transcripts of every stage stay there; \
                               `lathe doctor` checks the machine."
                    .into()
            }
            Self::HandOver(error) => error.remedy(),
            Self::Room(_) | Self::Write { .. } => "Check the path and the free space.".into(),
            Self::Executable(_) | Self::Broken(_) => "Try again.".into(),
        }
    }
}

pub(super) fn bootstrap(
    config: &Config,
    flags: &Flags,
    how: &Bootstrap,
) -> Result<ExitCode, CliError> {
    match &how.what {
        Some(What::Check(how)) => check::check(config, flags, how),
        None => hand_over::bootstrap(config, flags, &how.host),
    }
}
