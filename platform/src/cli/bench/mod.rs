//! `lathe bench`: what the platform's promises cost, beside a limit and rivals of the same run.

mod burst;
mod chart;
mod classes;
mod crun;
mod docker;
mod figures;
mod governor;
mod ground;
mod groups;
mod limit;
mod logs;
mod machine;
mod native;
mod paper;
mod probe;
mod push;
mod ready;
mod router;
mod slug;
mod start;
mod steps;
mod stress;
mod variability;
mod work;
mod yard;

pub(super) use figures::Latency;

use super::CliError;
use super::client::ClientError;
use super::remote::RemoteError;
use super::up::{Signals, UpVerbError};
use crate::config::Config;
use crate::host::packages::PackagesError;
use crate::stack::StackError;
use clap::Subcommand;
use lathe_dynos::containers::{EngineError, StartError};
use lathe_dynos::native::OpenError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// From the request for a dyno to its program's first instruction, slug cached
    Start(start::Start),
    /// From `git push` to live and back, warm, step by step
    Push(push::Push),
    /// Thousands of tasks and dynos at once, from the request to the tear-down
    Burst(burst::Burst),
    /// A platform that admits no more: what the API and its loops take meanwhile
    Stress(stress::Stress),
    /// Packing and unpacking a tree, beside tar with gzip and with pigz
    Slug(slug::Slug),
    /// Log lines from a dyno's pipe to a drain, every one accounted for, beside rsyslog
    Logs(logs::Logs),
    /// Requests a second, CPU and time of each through the router, beside nginx and haproxy
    Router(router::Router),
    /// Hogs of several classes at once: what each gets beside what it was promised
    Classes(classes::Classes),
    /// What governing many dynos costs, and one dyno's balance beside its terms and its use
    Governor(governor::Governor),
    /// How much the time of a request varies by class, neighbours and CPU credits
    Variability(variability::Variability),
    /// The measured process of `bench router`
    #[command(hide = true)]
    RouterOwn { backend: SocketAddr },
    /// The measured process of `bench logs`
    #[command(hide = true)]
    LogsHub { drain: String },
    #[command(flatten)]
    Part(Part),
}

// What runs in a dyno has no configuration, and the limit forks: it runs before there is any thread.
#[derive(Debug, Subcommand)]
pub(super) enum Part {
    /// What the dynos of a measurement run
    #[command(hide = true, subcommand)]
    Work(work::Work),
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
    #[error("there is no base stack")]
    Stack(#[from] StackError),
    #[error("the rivals are not here")]
    Packages(#[from] PackagesError),
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
            Self::Stack(error) => return error.remedy(),
            Self::Packages(error) => return error.remedy(),
            _ => "Containers need root; `lathe doctor` checks the machine and says how to mend it.",
        }
        .into()
    }
}

pub(super) fn part(what: &Part) -> Result<(), BenchError> {
    match what {
        Part::Work(what) => work::work(what),
        Part::Limit { dir, own_network } => limit::serve(dir, *own_network),
    }
}

/// Measures until that is done or a signal comes: whoever has started something ends it either way.
async fn within<T>(measure: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let mut signals = Signals::watch()?;
    tokio::select! {
        measured = measure => measured,
        _ = signals.next() => Err(BenchError::at("go on")(io::ErrorKind::Interrupted)),
    }
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
        Bench::Stress(how) => {
            let pace = stress::listen(&config.log);
            super::runtime()?.block_on(stress::stress(config, how, &pace))?;
        }
        Bench::Slug(how) => slug::slug(how)?,
        Bench::Logs(how) => logs::logs(how)?,
        Bench::LogsHub { drain } => super::runtime()?.block_on(logs::serve(drain))?,
        Bench::Router(how) => router::router(how)?,
        Bench::RouterOwn { backend } => super::runtime()?.block_on(router::serve(*backend))?,
        Bench::Classes(how) => {
            super::init_log(&config.log);
            super::runtime()?.block_on(classes::classes(&config, how))?;
        }
        Bench::Governor(how) => {
            super::init_log(&config.log);
            super::runtime()?.block_on(governor::governor(&config, how))?;
        }
        Bench::Variability(how) => {
            super::init_log(&config.log);
            super::runtime()?.block_on(variability::variability(&config, how))?;
        }
        Bench::Part(what) => part(what)?,
    }
    Ok(())
}
