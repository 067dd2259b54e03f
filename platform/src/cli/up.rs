//! `lathe up`: the whole platform in one process, until a signal ends it.

use super::say::say;
use super::{CliError, runtime};
use crate::config::Config;
use crate::host::instance::Dynos;
use crate::host::{notify, packages};
use crate::roles::{self, Running, UpError};
use clap::Args;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How to start, and how to end.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// When it ends, end the dynos too
    #[arg(long)]
    stop_dynos: bool,
    /// Install no Debian packages; only say which are missing
    #[arg(long)]
    no_install: bool,
}

/// Why the platform did not come up, or cannot be ended in good order.
#[derive(Debug, thiserror::Error)]
pub enum UpVerbError {
    #[error(transparent)]
    Up(#[from] UpError),
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
}

impl UpVerbError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Up(error) => error.remedy(),
            Self::Signals(_) | Self::Threads(_) => {
                "The machine has run out of something; see `lathe doctor`.".into()
            }
        }
    }
}

pub(super) fn up(config: Config, how: &Up) -> Result<(), CliError> {
    prepare_host(how.no_install)?;
    Ok(runtime()?.block_on(serve(config, how.stop_dynos))?)
}

/// Installs the Debian packages this machine lacks, or refuses with their names.
pub(super) fn prepare_host(no_install: bool) -> Result<(), CliError> {
    if no_install {
        return Ok(packages::require()?);
    }
    let mut first = true;
    Ok(packages::install(&mut |line| {
        if std::mem::take(&mut first) {
            say!("-----> Preparing this machine");
        }
        say!("       {line}");
    })?)
}

async fn serve(config: Config, stop_dynos: bool) -> Result<(), UpVerbError> {
    // Before anything starts: a signal in the middle must not find nobody at home.
    let mut signals = Signals::watch()?;
    let running = start(config).await?;
    greet(&running);
    if let Some(socket) = &running.services.config.notify_socket
        && let Err(error) = notify::ready(socket)
    {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the service manager cannot be told that we are ready");
    }
    let dynos = signals.next().await;
    say!("-----> Stopping");
    running.stop(stop_dynos || dynos == Dynos::End).await;
    Ok(())
}

/// Brings everything up, with what takes long on stdout.
pub(super) async fn start(config: Config) -> Result<Running, UpError> {
    say!("-----> Starting Lathe on {}", config.data.display());
    roles::up(config, |line: &str| say!("       {line}")).await
}

/// The signals that end the platform: SIGTERM and SIGINT leave the dynos, SIGQUIT ends them.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    pub(super) fn watch() -> Result<Self, UpVerbError> {
        let watch = |kind| signal(kind).map_err(UpVerbError::Signals);
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            quit: watch(SignalKind::quit())?,
        })
    }

    /// Waits for one and says what it means for the dynos.
    pub(super) async fn next(&mut self) -> Dynos {
        tokio::select! {
            _ = self.terminate.recv() => Dynos::Stay,
            _ = self.interrupt.recv() => Dynos::Stay,
            _ = self.quit.recv() => Dynos::End,
        }
    }
}

fn greet(running: &Running) {
    let config = &running.services.config;
    let endpoints = running.endpoints();
    let lathe = match config.data.to_str() {
        Some("/var/lib/lathe") => "lathe env".to_owned(),
        _ => format!("lathe --data {} env", config.data.display()),
    };
    say!("-----> Lathe is up");
    say!("       API and git  https://localhost:{}", endpoints.api_tls.port());
    say!("       Apps         http://NAME.{}:{}/", config.apps_domain, endpoints.router.port());
    say!("       To use it here, with git and the Heroku CLI (npm install -g heroku):");
    say!("         eval \"$({lathe})\"");
    say!("         heroku create myapp && git push heroku main");
    say!("       From another machine: lathe connect USER@THIS-HOST -- heroku apps");
}
