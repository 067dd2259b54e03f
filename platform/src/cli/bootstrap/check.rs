//! `lathe bootstrap check`: Lathe compiled by Lathe in stages, and what came of it.

use super::BootstrapError;
use crate::cli::say::say;
use crate::cli::up::{self, Signals};
use crate::cli::{CliError, readable_by_dynos, runtime};
use crate::config::{Config, Flags};
use clap::Args;
use lathe_bootstrap::{Origin, Plan, Report, Stop};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// What to build: a folder or a git URL, either with #REF
    #[arg(long, value_name = "DIR|URL#REF", default_value = ".")]
    source: String,
    /// How many slugs to build, one after the other
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=9))]
    stages: u32,
    /// Change between stages what must not matter: hostname, umask, time zone, language, CPUs,
    /// build user
    #[arg(long)]
    perturb: bool,
    /// Plant a difference in the last stage, to see that it is found and named: the check has to fail
    #[arg(long)]
    plant: bool,
    /// Compile it with cargo alone, too, and say how much longer a push takes
    #[arg(long)]
    bare: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep slugs, logs and transcripts in this folder, which must not exist [default: removed]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(super) fn check(config: &Config, flags: &Flags, how: &Check) -> Result<ExitCode, CliError> {
    up::prepare_host(false)?;
    readable_by_dynos();
    let temporary = tempfile::Builder::new().prefix("lathe-bootstrap-").tempdir();
    let temporary = temporary.map_err(BootstrapError::Room)?;
    let room = match &how.keep {
        // Made here and not later: somebody else's folder is not for us to fill.
        Some(keep) => {
            fs::create_dir(keep).map_err(BootstrapError::Room)?;
            fs::canonicalize(keep).map_err(BootstrapError::Room)?
        }
        None => temporary.path().to_owned(),
    };
    let plan = Plan {
        executable: std::env::current_exe().map_err(BootstrapError::Executable)?,
        origin: Origin::parse(&how.source),
        stages: how.stages,
        perturb: how.perturb,
        plant: how.plant,
        bare: how.bare,
        settings: settings(config, flags),
        room,
    };
    let report = runtime()?.block_on(perform(plan))?;
    say!("{report}");
    if let Some(path) = &how.json {
        write(path, &report)?;
    }
    Ok(if report.verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What an operator set for this run holds for every stage; the stacks are shared with them all.
fn settings(config: &Config, flags: &Flags) -> Vec<(String, String)> {
    let stacks = ("stacks.dir".to_owned(), config.stacks.dir.display().to_string());
    [stacks].into_iter().chain(flags.set.iter().cloned()).collect()
}

/// The check works on a thread of its own and is told to stop by a signal.
async fn perform(plan: Plan) -> Result<Report, CliError> {
    let mut signals = Signals::watch()?;
    let stop = Stop::default();
    let asked = stop.clone();
    let mut work = tokio::task::spawn_blocking(move || {
        lathe_bootstrap::check(&plan, &stop, &mut |step| say!("{step}"))
    });
    let done = tokio::select! {
        done = &mut work => done,
        _ = signals.next() => {
            say!("Stopping");
            asked.ask();
            work.await
        }
    };
    Ok(done.map_err(BootstrapError::Broken)?.map_err(BootstrapError::Check)?)
}

fn write(path: &PathBuf, report: &Report) -> Result<(), BootstrapError> {
    let failed = |source| BootstrapError::Write { path: path.clone(), source };
    let json = serde_json::to_vec_pretty(report).map_err(|error| failed(error.into()))?;
    fs::write(path, json).map_err(failed)
}
