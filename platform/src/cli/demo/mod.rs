//! `lathe demo`: a push, a request, a one-off and the logs, on this machine and from outside.

mod oneoff;
pub(super) mod sample;

use super::client::{self, Client, ClientError, loopback};
use super::up::{self, Signals, UpVerbError};
use super::{CliError, runtime};
use crate::cli::say::say;
use crate::config::Config;
use crate::host::packages;
use crate::roles::Running;
use clap::Args;
use oneoff::RendezvousError;
use sample::{Sample, SampleError};
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the one-off ends with: no program does so by accident.
const EXIT_STATUS: u8 = 42;
/// Lines travel through the log hub in their own time.
const LOG_PATIENCE: Duration = Duration::from_secs(10);
const LOG_LINES: u32 = 20;

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
    #[error("the API does not do it")]
    Client(#[from] ClientError),
    #[error("the sample cannot be pushed")]
    Sample(#[from] SampleError),
    #[error("the one-off dyno cannot be met")]
    Rendezvous(#[from] RendezvousError),
    #[error("the app answers {status}: {body:?}")]
    Answer { status: u16, body: String },
    #[error("the one-off dyno ended with {found:?}, not with {EXIT_STATUS}")]
    ExitStatus { found: Option<u8> },
    #[error("the request is not in the logs after {} seconds", LOG_PATIENCE.as_secs())]
    Logs,
}

impl DemoError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Sample(_) => "See what git said above.".into(),
            Self::Directory(_) | Self::Read { .. } => {
                "Check the disk, and that you are root.".into()
            }
            _ => "Again with LATHE_LOG=info says more; `lathe doctor` checks the machine.".into(),
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
    let listen = &mut config.listen;
    let all =
        [&mut listen.api_tls, &mut listen.api_plain, &mut listen.rendezvous, &mut listen.router];
    for address in all {
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
    let config = &running.services.config;
    let token = read(config.owner_token())?;
    let client = Client::new(running.endpoints(), token.trim(), &read(config.ca_certificate())?)?;

    let app = format!("hello-{:06x}", uuid::Uuid::new_v4().as_u128() & 0xff_ffff);
    step("Creating an app");
    client.post("/apps", &serde_json::json!({ "name": app })).await?;
    say!("       {app}");

    step("git push");
    let port = running.endpoints().api_tls.port();
    let bundle = config.tls_dir().join("bundle.pem");
    let sample = Sample::make(room.path(), &app, port, token.trim(), &bundle).await?;
    let started = Instant::now();
    sample.push(Stdio::inherit()).await?;
    say!("       in {:.1} s", started.elapsed().as_secs_f64());

    let url = running.services.web_url(&app);
    step(&format!("GET {url}"));
    let router = loopback(running.endpoints().router);
    let (status, body) = client::get_app(router, &app, &config.apps_domain).await?;
    if status != 200 || !body.starts_with("Hello, world, from web.1") {
        return Err(DemoError::Answer { status, body });
    }
    say!("       {status} {}", body.trim_end());

    let command = format!("bash -c 'echo $DYNO on $(uname -s); exit {EXIT_STATUS}'");
    step(&format!("heroku run -x -a {app} {command}"));
    let (output, found) = oneoff::run(&client, &app, &command).await?;
    output.lines().for_each(|line| say!("       {line}"));
    if found != Some(EXIT_STATUS) {
        return Err(DemoError::ExitStatus { found });
    }
    say!("       exit status {EXIT_STATUS}");

    step(&format!("heroku logs -a {app}"));
    for line in logs_with_request(&client, &app).await? {
        say!("       {line}");
    }
    Ok(app)
}

/// The last lines of the app, as soon as the router's line of our request is among them.
async fn logs_with_request(client: &Client, app: &str) -> Result<Vec<String>, DemoError> {
    let deadline = Instant::now() + LOG_PATIENCE;
    while Instant::now() < deadline {
        let session = serde_json::json!({ "lines": LOG_LINES, "tail": false });
        let session = client.post(&format!("/apps/{app}/log-sessions"), &session).await?;
        let url = session["logplex_url"].as_str().unwrap_or_default();
        let text = client.get_text(url).await?;
        if text.contains("heroku[router]") {
            return Ok(text.lines().map(str::to_owned).collect());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(DemoError::Logs)
}

fn invite(running: &Running, app: &str) {
    let data = running.services.config.data.display();
    let lathe = super::own_path();
    say!("-----> Your turn, in another terminal");
    say!("         eval \"$({lathe} --data {data} env)\"");
    say!("         curl {}", running.services.web_url(app));
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
