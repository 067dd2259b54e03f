//! `lathe up`: the platform, until it is told to stop.

use super::env::Access;
use super::say::say;
use super::{CliError, runtime};
use crate::config::{Config, Flags};
use crate::host::instance::Dynos;
use crate::host::notify;
use crate::host::packages::{self, PackagesError};
use crate::hosting::{self, KeeperError, Launch, Post};
use crate::inherited;
use crate::roles::{self, Running, UpError};
use clap::Args;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How it shall run.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// Install no Debian packages; refuse to start when one is missing
    #[arg(long)]
    no_install: bool,
    /// End the dynos too, however it is stopped
    #[arg(long)]
    stop_dynos: bool,
    /// Run the version of Lathe that is the release of app `lathe` on this platform, and take back
    /// one that is no good
    #[arg(long)]
    self_hosted: bool,
    /// Set by the keeper of a self-hosted platform: the release this is
    #[arg(long, hide = true, value_name = "RELEASE", conflicts_with = "self_hosted")]
    kept: Option<String>,
    /// Set by the keeper that this process was before
    #[arg(long, hide = true, num_args = 3, value_names = ["RELEASE", "LOCK", "OWN"],
        requires = "self_hosted")]
    post: Option<Vec<OsString>>,
}

/// Why it did not run.
#[derive(Debug, thiserror::Error)]
pub enum UpVerbError {
    #[error(transparent)]
    Up(#[from] UpError),
    #[error("threads could not be started")]
    Threads(#[source] io::Error),
    #[error("signals cannot be listened for")]
    Signals(#[source] io::Error),
    #[error("the platform cannot be started again")]
    Again(#[source] io::Error),
    #[error("the service manager could not be told")]
    Notify(#[source] io::Error),
    #[error("no platform is kept running")]
    Keep(#[from] KeeperError),
    #[error("the keeper before has not left its post as it has to")]
    Post(#[source] io::Error),
}

impl UpVerbError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Up(error) => error.remedy(),
            Self::Keep(error) => error.remedy(),
            _ => "`lathe doctor` checks the machine and says how to mend it.".into(),
        }
    }
}

pub(super) fn up(mut config: Config, flags: &Flags, how: &Up) -> Result<(), CliError> {
    if how.self_hosted {
        let post = match &how.post {
            None => Post { yields: true, ..first_post()? },
            Some(words) => take_post(words).map_err(UpVerbError::Post)?,
        };
        let launch = launch(&config, flags, how.no_install, how.stop_dynos);
        return Ok(keep(&config, &launch, post, None)?);
    }
    prepare_host(how.no_install)?;
    config.kept.clone_from(&how.kept);
    match runtime()?.block_on(serve(config, how.stop_dynos))? {
        After::End => Ok(()),
        After::Again => Err(again().into()),
    }
}

/// Keeps a version of the platform running until told to stop. It has no other thread: what comes for
/// this process while it becomes another program waits for that one. `signals`: those that it has
/// listened for so far, lest one that comes now is lost.
pub(super) fn keep(
    config: &Config,
    launch: &Launch,
    post: Post,
    signals: Option<Signals>,
) -> Result<(), UpVerbError> {
    super::readable_by_dynos();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(UpVerbError::Threads)?.block_on(async {
        let mut signals = signals.map_or_else(Signals::watch, Ok)?;
        hosting::hear().map_err(|error| UpVerbError::Signals(error.into()))?;
        Ok(hosting::keep(config, launch, post, signals.next()).await?)
    })
}

/// Of a keeper that was no other program before.
pub(super) fn first_post() -> Result<Post, UpVerbError> {
    let own = std::env::current_exe().map_err(UpVerbError::Post)?;
    Ok(Post { release: hosting::OWN.into(), own, yields: false, lock: None })
}

fn take_post(words: &[OsString]) -> io::Result<Post> {
    let [release, lock, own] = words else { return Err(io::ErrorKind::InvalidInput.into()) };
    let text = |word: &OsString| word.to_str().map(str::to_owned).ok_or(io::ErrorKind::InvalidData);
    let lock = text(lock)?.parse().map_err(io::Error::other)?;
    let lock = Some(inherited::one(lock)?);
    Ok(Post { release: text(release)?, own: own.into(), yields: true, lock })
}

/// How a keeper starts the platform.
pub(super) fn launch(config: &Config, flags: &Flags, no_install: bool, stop_dynos: bool) -> Launch {
    let given = [(no_install, "--no-install"), (stop_dynos, "--stop-dynos")];
    let given = given.into_iter().filter(|(given, _)| *given);
    Launch { flags: flags.words(&config.data), up: given.map(|(_, word)| word.into()).collect() }
}

/// What comes after a platform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    End,
    /// Another one, by the same command.
    Again,
}

/// Becomes the same program anew; there is an answer only when that cannot be done.
fn again() -> UpVerbError {
    let failed = |source| UpVerbError::Again(source);
    match std::env::current_exe() {
        Ok(path) => failed(Command::new(path).args(std::env::args_os().skip(1)).exec()),
        Err(source) => failed(source),
    }
}

/// Makes sure that every program is there that the platform runs.
pub(super) fn prepare_host(no_install: bool) -> Result<(), PackagesError> {
    if no_install {
        return packages::require();
    }
    packages::install(&mut |line| eprintln!("       {line}"))
}

/// Brings the platform up and says what takes long.
pub(super) async fn start(config: Config) -> Result<Running, UpVerbError> {
    super::readable_by_dynos();
    Ok(Box::pin(roles::up(config, |line| eprintln!("       {line}"))).await?)
}

async fn serve(config: Config, stop_dynos: bool) -> Result<After, UpVerbError> {
    let mut signals = Signals::watch()?;
    let notify_socket = config.notify_socket.clone();
    let running = start(config).await?;
    welcome(&running);
    if let Some(socket) = notify_socket {
        notify::ready(&socket).map_err(UpVerbError::Notify)?;
    }
    let told = tokio::select! {
        told = signals.next() => told,
        () = running.again() => {
            say!("Starting again");
            running.stop(false).await;
            return Ok(After::Again);
        }
    };
    let end_dynos = told == Dynos::End || stop_dynos;
    say!("Stopping{}", if end_dynos { ", dynos too" } else { "; the dynos go on serving" });
    running.stop(end_dynos).await;
    Ok(After::End)
}

/// The signals by which a platform is told to stop.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// From now on none of them ends the process by itself.
    pub(super) fn watch() -> Result<Self, UpVerbError> {
        let watch = |kind| signal(kind).map_err(UpVerbError::Signals);
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            quit: watch(SignalKind::quit())?,
        })
    }

    /// Waits for one, and says what it means for the dynos.
    pub(super) async fn next(&mut self) -> Dynos {
        tokio::select! {
            _ = self.terminate.recv() => Dynos::Stay,
            _ = self.interrupt.recv() => Dynos::Stay,
            _ = self.quit.recv() => Dynos::End,
        }
    }
}

fn welcome(running: &Running) {
    let config = &running.config;
    let endpoints = &running.endpoints;
    let data = config.data.display();
    say!("Lathe is up. Its data is in {data}.");
    if let Err(why) = &running.state {
        say!(" !     Only apps are served, as they last were: {why}.");
        say!(" !     `lathe rescue` says what can be done.");
    }
    say!("  apps        http://NAME.{}:{}/", config.apps_domain, endpoints.router.port());
    say!("              https://NAME.{}:{}/", config.apps_domain, endpoints.router_tls.port());
    say!("  API and git https://{}:{}/", config.api_host, endpoints.api_tls.port());
    if let Err(error) = Access::of(config) {
        super::report(&error);
    }
    say!("Connect git and the Heroku CLI:");
    say!("  eval \"$({} --data {data} env)\"", super::own_path());
    say!("  heroku create myapp && git push heroku main");
}
