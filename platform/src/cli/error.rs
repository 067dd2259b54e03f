//! Why a verb failed: what happened and what to do, for whoever typed it.

use crate::config::ConfigError;
use crate::stack::StackError;
use std::error::Error;
use std::process::ExitCode;

/// Any failure of a verb; each area keeps its own enum and its own remedies.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Stack(#[from] StackError),
}

impl CliError {
    fn remedy(&self) -> String {
        match self {
            Self::Config(error) => error.remedy(),
            Self::Stack(error) => error.remedy(),
        }
    }

    /// The codes of `sysexits.h`.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Stack(StackError::NotRoot) => 77,
            Self::Stack(_) => 71,
        }
    }
}

/// Prints the failure in Heroku's form (` !     what`), the causes below it, then the remedy.
pub fn report(error: &CliError) -> ExitCode {
    eprintln!(" !     {}", sentence(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!(" !     because: {error}");
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
