//! Why a verb failed: what happened and what to do, for whoever typed it.

use super::connect::ConnectError;
use super::env::EnvError;
use super::install::InstallError;
use crate::config::ConfigError;
use crate::host::instance::InstanceError;
use crate::host::packages::PackagesError;
use crate::stack::StackError;
use lathe_dynos::native::spawner::SpawnerError;
use std::error::Error;
use std::process::ExitCode;

/// Any failure of a verb; each area keeps its own enum and its own remedies.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Stack(#[from] StackError),
    #[error(transparent)]
    Packages(#[from] PackagesError),
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Spawner(#[from] SpawnerError),
}

impl CliError {
    fn remedy(&self) -> String {
        match self {
            Self::Config(error) => error.remedy(),
            Self::Stack(error) => error.remedy(),
            Self::Packages(error) => error.remedy(),
            Self::Instance(error) => error.remedy(),
            Self::Env(error) => error.remedy(),
            Self::Install(error) => error.remedy(),
            Self::Connect(error) => error.remedy(),
            Self::Spawner(_) => "The platform starts it again by itself.".into(),
        }
    }

    /// The codes of `sysexits.h`, where one fits.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Stack(StackError::NotRoot)
            | Self::Packages(PackagesError::NotRoot { .. })
            | Self::Install(InstallError::NotRoot)
            | Self::Env(EnvError::Read { .. }) => 77,
            Self::Env(_) | Self::Instance(_) | Self::Connect(_) => 69,
            Self::Stack(_) | Self::Packages(_) | Self::Install(_) | Self::Spawner(_) => 71,
        }
    }
}

/// Prints the failure in Heroku's form (` !     what`), the causes below it, then the remedy.
pub fn report(error: &CliError) -> ExitCode {
    eprintln!(" !     {}", sentence(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        let mut lines = text.lines();
        eprintln!(" !     because: {}", lines.next().unwrap_or_default());
        lines.for_each(|line| eprintln!(" !       {line}"));
        cause = error.source();
    }
    for line in error.remedy().lines() {
        eprintln!(" !     {line}");
    }
    ExitCode::from(error.exit_code())
}

/// Errors are lower-case fragments, so that they can be put together; people read sentences.
fn sentence(fragment: &str) -> String {
    let mut letters = fragment.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).chain(['.']).collect()
    })
}
