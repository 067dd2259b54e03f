//! `lathe test`: the tests of a directory's app, as its buildpacks or its app.json run them.

use super::workshop::{Source, Workshop, WorkshopError};
use crate::config::Config;
use clap::Args;
use lathe_compiler::{TestRun, Transcript};
use std::io;
use std::process::ExitCode;

/// What to test.
#[derive(Debug, Args)]
pub(super) struct Test {
    #[command(flatten)]
    source: Source,
}

/// The exit status is that of the tests; 1 as well where they could not be run, and the transcript
/// says which of it.
pub(super) fn test(config: &Config, what: &Test) -> Result<ExitCode, WorkshopError> {
    let workshop = Workshop::open(config, &what.source)?;
    let mut out = Transcript::new(io::stdout());
    Ok(match lathe_compiler::test(&workshop.job, &mut out) {
        Ok(TestRun::Passed) => {
            out.step("Tests passed.");
            ExitCode::SUCCESS
        }
        Ok(TestRun::Failed { tests, status }) => {
            out.error(&format!("Tests failed: {tests} ended with status {status}."));
            ExitCode::from(status)
        }
        Err(_) => ExitCode::FAILURE,
    })
}
