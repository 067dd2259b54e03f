//! `lathe demo`: a push, a request, a one-off and the logs, on this machine and from outside.

use super::env::Access;
use super::tour::{Tour, TourError};
use super::up::{self, Signals, UpVerbError};
use super::{CliError, runtime};
use crate::cli::say::say;
use crate::config::Config;
use crate::host::packages;
use crate::roles::Running;
use clap::Args;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// How far to go.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// End after the checks, with exit status 0 only if every one held
    #[arg(long)]
    exit: bool,
    /// Install no Debian packages; only say which are missing
    #[arg(long)]
    no_install: bool,
}

/// Why the demonstration could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("cannot make a directory for the demonstration")]
    Directory(#[source] io::Error),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the demonstration has failed")]
    Tour(#[from] TourError),
}

impl DemoError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Tour(error) => error.remedy(),
            Self::Directory(_) | Self::Read { .. } => {
                "Check the disk, and that you are root.".into()
            }
        }
    }
}

pub(super) fn demo(mut config: Config, how: &Demo, own_data: bool) -> Result<ExitCode, CliError> {
    if how.no_install {
        for need in packages::missing() {
            say!(" !     missing: {} ({}), which {}", need.what, need.package, need.why);
        }
    }
    up::prepare_host(how.no_install)?;
    let room = tempfile::Builder::new().prefix("lathe-demo-").tempdir();
    let room = room.map_err(DemoError::Directory)?;
    if !own_data {
        config.data = room.path().join("data");
    }
    evade_taken_ports(&mut config);
    Ok(runtime()?.block_on(perform(config, how.exit, &room))?)
}

/// A platform of this machine's own may have the usual ports; the demonstration takes others.
fn evade_taken_ports(config: &mut Config) {
    for address in config.listen.all_mut() {
        if TcpListener::bind(*address).is_err() {
            address.set_port(0);
        }
    }
}

async fn perform(config: Config, exit: bool, room: &TempDir) -> Result<ExitCode, UpVerbError> {
    let mut signals = Signals::watch()?;
    let running = up::start(config).await?;
    let shown = tokio::select! {
        shown = show(&running, room) => Some(shown),
        _ = signals.next() => None,
    };
    let code = match &shown {
        Some(Ok(app)) => {
            say!("-----> Every check held");
            if !exit {
                invite(&running, app);
                signals.next().await;
            }
            ExitCode::SUCCESS
        }
        Some(Err(error)) => {
            super::error::explain(error, &error.remedy());
            ExitCode::FAILURE
        }
        None => ExitCode::FAILURE,
    };
    say!("-----> Stopping everything, dynos too");
    running.stop(true).await;
    Ok(code)
}

/// The checks, in the order in which somebody would do it by hand. Gives the app's name.
async fn show(running: &Running, room: &TempDir) -> Result<String, DemoError> {
    let config = &running.config;
    let access = Access {
        endpoints: running.endpoints.clone(),
        token: read(config.owner_token())?.trim().to_owned(),
        authority: read(config.ca_certificate())?,
    };
    let tour = Tour::begin(&access, &config.apps_domain, room.path()).await?;
    let app = tour.app();

    step("Creating an app");
    tour.create().await?;
    say!("       {app}");

    step("git push");
    let started = Instant::now();
    tour.push(Stdio::inherit()).await?;
    say!("       in {:.1} s", started.elapsed().as_secs_f64());

    step(&format!("GET {}", running.endpoints.web_url(&running.config, app)));
    say!("       200 {}", tour.request().await?.trim_end());

    step(&format!("heroku run -x -a {app} {}", Tour::command()));
    let (output, status) = tour.run().await?;
    output.lines().for_each(|line| say!("       {line}"));
    say!("       exit status {status}");

    step(&format!("heroku logs -a {app}"));
    for line in tour.logs().await? {
        say!("       {line}");
    }
    Ok(app.to_owned())
}

fn invite(running: &Running, app: &str) {
    let data = running.config.data.display();
    let lathe = super::own_path();
    say!("-----> Your turn, in another terminal");
    say!("         eval \"$({lathe} --data {data} env)\"");
    say!("         curl {}", running.endpoints.web_url(&running.config, app));
    say!("       With the Heroku CLI (npm install -g heroku), for an app of your own:");
    say!("         heroku create && git push heroku main && heroku open");
    say!("         heroku config:set -a {app} NAME=you && heroku logs -a {app} --tail");
    say!("       Ctrl-C here ends it and removes everything.");
}

fn step(title: &str) {
    say!("-----> {title}");
}

fn read(path: PathBuf) -> Result<String, DemoError> {
    std::fs::read_to_string(&path).map_err(|source| DemoError::Read { path, source })
}
