//! Why a verb failed: what happened and what to do, for whoever typed it.

use super::bench::BenchError;
use super::bootstrap::BootstrapError;
use super::client::ClientError;
use super::connect::ConnectError;
use super::demo::DemoError;
use super::drill::DrillError;
use super::env::EnvError;
use super::inputs::InputsError;
use super::install::InstallError;
use super::release_diff::ReleaseDiffError;
use super::router::RouterVerbError;
use super::selftest::SelftestError;
use super::slug::SlugVerbError;
use super::token::TokenError;
use super::up::UpVerbError;
use super::verify::VerifyError;
use super::workshop::WorkshopError;
use crate::backup::BackupError;
use crate::config::ConfigError;
use crate::host::dockerd::DockerdError;
use crate::host::instance::InstanceError;
use crate::host::packages::PackagesError;
use crate::hosting::{AccountError, RescueError};
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
    Dockerd(#[from] DockerdError),
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Env(#[from] EnvError),
    #[error(transparent)]
    Inputs(#[from] InputsError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Workshop(#[from] WorkshopError),
    #[error(transparent)]
    Slug(#[from] SlugVerbError),
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    ReleaseDiff(#[from] ReleaseDiffError),
    #[error(transparent)]
    Selftest(#[from] SelftestError),
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error(transparent)]
    Drill(#[from] DrillError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Up(#[from] UpVerbError),
    #[error(transparent)]
    Heir(#[from] AccountError),
    #[error("the platform is not made another version")]
    Rescue(#[from] RescueError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Spawner(#[from] SpawnerError),
    #[error(transparent)]
    Router(#[from] RouterVerbError),
    #[error("a visit to a dyno could not be told of")]
    Visitor(#[source] std::io::Error),
}

impl CliError {
    fn remedy(&self) -> String {
        match self {
            Self::Config(error) => error.remedy(),
            Self::Stack(error) => error.remedy(),
            Self::Packages(error) => error.remedy(),
            Self::Dockerd(error) => error.remedy(),
            Self::Instance(error) => error.remedy(),
            Self::Backup(error) => error.remedy(),
            Self::Env(error) => error.remedy(),
            Self::Inputs(error) => error.remedy(),
            Self::Install(error) => error.remedy(),
            Self::Connect(error) => error.remedy(),
            Self::Workshop(error) => error.remedy(),
            Self::Slug(error) => error.remedy(),
            Self::Bench(error) => error.remedy(),
            Self::Bootstrap(error) => error.remedy(),
            Self::ReleaseDiff(error) => error.remedy(),
            Self::Selftest(error) => error.remedy(),
            Self::Demo(error) => error.remedy(),
            Self::Drill(error) => error.remedy(),
            Self::Token(error) => error.remedy(),
            Self::Verify(error) => error.remedy(),
            Self::Up(error) => error.remedy(),
            Self::Rescue(error) => error.remedy(),
            Self::Heir(_) => "`lathe rescue` says what can be done.".into(),
            Self::Client(_) => {
                "The answer says what is wrong; `lathe doctor` checks the machine.".into()
            }
            Self::Spawner(_) | Self::Router(_) | Self::Visitor(_) => {
                "The platform starts it again by itself.".into()
            }
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
            Self::Env(_)
            | Self::Instance(_)
            | Self::Connect(_)
            | Self::Token(_)
            | Self::Client(_) => 69,
            // As of diff(1), which says with 1 that there are differences.
            Self::Slug(_) | Self::Verify(_) => 2,
            Self::Stack(_)
            | Self::Packages(_)
            | Self::Dockerd(_)
            | Self::Install(_)
            | Self::Up(_)
            | Self::Spawner(_)
            | Self::Router(_)
            | Self::Visitor(_) => 71,
            Self::Workshop(_)
            | Self::Backup(_)
            | Self::Bench(_)
            | Self::Bootstrap(_)
            | Self::ReleaseDiff(_)
            | Self::Selftest(_)
            | Self::Demo(_)
            | Self::Drill(_)
            | Self::Heir(_)
            | Self::Rescue(_)
            | Self::Inputs(_) => 1,
        }
    }
}

/// Prints the failure with its causes and its remedy, and says how to exit.
pub fn report(error: &CliError) -> ExitCode {
    explain(error, &error.remedy());
    ExitCode::from(error.exit_code())
}

/// Heroku's form: ` !     what`, the causes below it, then what to do.
pub(super) fn explain(error: &dyn Error, remedy: &str) {
    eprintln!(" !     {}", sentence(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        let mut lines = text.lines();
        eprintln!(" !     because: {}", lines.next().unwrap_or_default());
        lines.for_each(|line| eprintln!(" !       {line}"));
        cause = error.source();
    }
    for line in remedy.lines() {
        eprintln!(" !     {line}");
    }
}

/// Errors are lower-case fragments, so that they can be put together; people read sentences.
fn sentence(fragment: &str) -> String {
    let mut letters = fragment.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).chain(['.']).collect()
    })
}
