//! `lathe bench`: what the platform's promises cost, beside a limit and rivals of the same run.

mod burst;
mod crun;
mod docker;
mod figures;
mod ground;
mod groups;
mod limit;
mod logs;
mod native;
mod probe;
mod push;
mod ready;
mod slug;
mod start;
mod steps;

use super::CliError;
use super::client::ClientError;
use super::remote::RemoteError;
use super::up::UpVerbError;
use crate::config::Config;
use clap::Subcommand;
use lathe_dynos::containers::{EngineError, StartError};
use lathe_dynos::native::OpenError;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// From the request for a dyno to its program's first instruction, slug cached
    Start(start::Start),
    /// From `git push` to live and back, warm, step by step
    Push(push::Push),
    /// Thousands of tasks and dynos at once, from the request to the tear-down
    Burst(burst::Burst),
    /// Packing and unpacking a tree, beside tar with gzip and with pigz
    Slug(slug::Slug),
    /// Log lines from a dyno's pipe to a drain, every one accounted for, beside rsyslog
    Logs(logs::Logs),
    /// The measured process of `bench logs`
    #[command(hide = true)]
    LogsHub { drain: String },
    /// The limit's own process; the measurement runs it
    #[command(hide = true)]
    Limit {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        own_network: bool,
    },
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("cannot {step}")]
    Step {
        step: String,
        #[source]
        source: io::Error,
    },
    #[error("the container engine could not be opened or closed")]
    Open(#[from] OpenError),
    #[error("a dyno did not start")]
    Start(#[from] StartError),
    #[error("the container engine did not do it")]
    Engine(#[from] EngineError),
    #[error("the program to be timed cannot be packed")]
    Pack(#[from] lathe_slug::PackError),
    #[error("docker cannot {step}")]
    Docker {
        step: &'static str,
        #[source]
        source: bollard::errors::Error,
    },
    #[error("no platform to push to")]
    Up(#[from] UpVerbError),
    #[error("the API does not do it")]
    Client(#[from] ClientError),
    #[error("the sample cannot be pushed")]
    Sample(#[from] RemoteError),
    #[error("the program to be timed is not made for this processor")]
    Processor,
}

impl BenchError {
    fn at<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |error| Self::Step { step, source: error.into() }
    }

    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Docker { .. } => "Unset DOCKER_HOST, or stop the daemon, to measure without it.",
            Self::Processor => "Measure on x86_64.",
            Self::Up(error) => return error.remedy(),
            _ => "Containers need root; `lathe doctor` checks the machine and says how to mend it.",
        }
        .into()
    }
}

/// The limit runs before there is any thread, since it forks.
pub(super) fn serve_limit(dir: &Path, own_network: bool) -> Result<(), BenchError> {
    limit::serve(dir, own_network)
}

pub(super) fn bench(config: Config, what: &Bench) -> Result<(), CliError> {
    match what {
        Bench::Start(how) => {
            super::init_log(&config.log);
            super::runtime()?.block_on(start::start(how))?;
        }
        Bench::Push(how) => {
            let steps = steps::listen(&config.log);
            super::runtime()?.block_on(push::push(config, how, &steps))?;
        }
        Bench::Burst(how) => {
            super::init_log(&config.log);
            super::runtime()?.block_on(burst::burst(config, how))?;
        }
        Bench::Slug(how) => slug::slug(how)?,
        Bench::Logs(how) => logs::logs(how)?,
        Bench::LogsHub { drain } => super::runtime()?.block_on(logs::serve(drain))?,
        Bench::Limit { .. } => {}
    }
    Ok(())
}
