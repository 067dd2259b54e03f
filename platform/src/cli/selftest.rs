//! `lathe selftest`: the quick part of the acceptance suite, against the platform of a data directory.

use super::CliError;
use super::env::Access;
use super::error::explain;
use super::runtime;
use super::say::say;
use super::tour::{Tour, TourError};
use super::up::Signals;
use crate::config::Config;
use clap::Args;
use serde::Serialize;
use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

/// The check whose failure git has explained.
const PUSHED: &str = "a push is compiled and released";

#[derive(Debug, Args)]
pub(super) struct Selftest {
    /// Print what was checked as JSON
    #[arg(long)]
    json: bool,
}

/// Why the platform was not tested, or did not pass.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    #[error("cannot make a directory for the test")]
    Directory(#[source] io::Error),
    #[error("it was told to stop")]
    Stopped,
    #[error("the test could not begin")]
    Begin(#[source] TourError),
}

impl SelftestError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Directory(_) => "Check the free space below the temporary directory.".into(),
            Self::Stopped => "Again, and wait for its end.".into(),
            Self::Begin(error) => error.remedy(),
        }
    }
}

/// One thing a platform has to do.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    passed: bool,
    took_ms: u128,
}

#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Check>,
}

/// Ends at the first check that fails: the later ones stand on it.
pub(super) fn selftest(config: &Config, how: &Selftest) -> Result<ExitCode, CliError> {
    let access = Access::of(config)?;
    let room = tempfile::Builder::new().prefix("lathe-selftest-").tempdir();
    let room = room.map_err(SelftestError::Directory)?;
    let checks = runtime()?.block_on(async {
        let mut signals = Signals::watch()?;
        let tour = Tour::begin(&access, &config.apps_domain, room.path()).await;
        let tour = tour.map_err(SelftestError::Begin)?;
        // What git says is for people only when it does not do it.
        let said = room.path().join("push.log");
        let log = File::create(&said).map_err(SelftestError::Directory)?;
        let checks = tokio::select! {
            checks = perform(&tour, log, !how.json) => checks,
            _ = signals.next() => {
                leave(&tour).await;
                return Err(SelftestError::Stopped.into());
            }
        };
        if checks.iter().any(|check| check.what == PUSHED && !check.passed) {
            let mut said = File::open(&said).map_err(SelftestError::Directory)?;
            io::copy(&mut said, &mut io::stderr()).map_err(SelftestError::Directory)?;
        }
        Ok::<_, CliError>(checks)
    })?;
    let passed = checks.iter().all(|check| check.passed);
    if how.json {
        say!("{}", serde_json::json!(Report { checks }));
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn perform(tour: &Tour, said: File, aloud: bool) -> Vec<Check> {
    let mut begun = Instant::now();
    let mut checks = Vec::new();
    // Whether to go on.
    let mut note = |what, result: Result<(), TourError>| {
        let check = Check { what, passed: result.is_ok(), took_ms: begun.elapsed().as_millis() };
        if aloud {
            let word = if check.passed { "passed" } else { "FAILED" };
            say!("{word} {:>7} ms  {what}", check.took_ms);
        }
        if let Err(error) = result {
            explain(&error, &error.remedy());
        }
        begun = Instant::now();
        let passed = check.passed;
        checks.push(check);
        passed
    };
    // Each only if the one before has passed.
    let created = note("an app is created", tour.create().await);
    let passed = created
        && note(PUSHED, tour.push(said.into()).await)
        && note("its page is served", tour.request().await.map(drop))
        && note("the request is in its logs", tour.logs().await.map(drop))
        && note("a one-off's exit status is exact", tour.run().await.map(drop))
        && note("a config var reaches the app", tour.configure().await)
        && note("what does not boot never serves", tour.break_it().await)
        && note("a rollback serves what was before", tour.roll_back().await)
        && note("a destroyed app is gone", tour.destroy().await);
    if created && !passed {
        leave(tour).await;
    }
    checks
}

/// Whatever did not work, nothing of it is to stay.
async fn leave(tour: &Tour) {
    if let Err(error) = tour.destroy().await {
        explain(&error, &format!("Remove what there is: `heroku apps:destroy -a {}`.", tour.app()));
    }
}
