//! `lathe compile`: a directory to a slug, with no platform.

use super::workshop::{Source, Workshop, WorkshopError};
use crate::config::Config;
use clap::Args;
use lathe_compiler::Transcript;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to compile, and into what.
#[derive(Debug, Args)]
pub(super) struct Compile {
    #[command(flatten)]
    source: Source,
    /// Where the slug goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// When the app does not compile, the transcript says why and what to do; the exit status is all
/// there is to add.
pub(super) fn compile(config: &Config, what: &Compile) -> Result<ExitCode, WorkshopError> {
    let workshop = Workshop::open(config, &what.source)?;
    // Beside its place and renamed: a build that fails leaves the last good slug alone.
    let dir = what.output.parent().filter(|dir| !dir.as_os_str().is_empty());
    let slug = tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new(".")))
        .map_err(WorkshopError::file("write beside", &what.output))?;
    let mut out = Transcript::new(io::stdout());
    if lathe_compiler::compile(&workshop.job, &mut out, slug.as_file()).is_err() {
        return Ok(ExitCode::FAILURE);
    }
    let kept = slug.persist(&what.output).map_err(|error| error.error);
    kept.map(|_| ExitCode::SUCCESS).map_err(WorkshopError::file("write", &what.output))
}
