//! A platform made a release of itself: its source pushed to it, compiled by it, tried, and kept.
//!
//! Each step finds out whether it is done: cut off anywhere, the same command goes on.

use super::BootstrapError;
use crate::causes::causes;
use crate::cli::client::{Client, ClientError};
use crate::cli::env::Access;
use crate::cli::remote::{Remote, RemoteError};
use crate::cli::say::say;
use crate::cli::up::{self, Signals, UpVerbError};
use crate::cli::{CliError, runtime};
use crate::config::{Config, Flags};
use crate::host::instance::{self, Dynos};
use crate::hosting::{self, Launch, Post};
use crate::state::system;
use clap::Args;
use http::Method;
use lathe_bootstrap::{Origin, SourceError, Stop, check_out};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinError;

const PAUSE: Duration = Duration::from_millis(500);
/// Of a platform that does not answer.
const TELL_EVERY: Duration = Duration::from_secs(15);

/// What it is made from.
#[derive(Debug, Args)]
pub(in crate::cli) struct HandOver {
    /// Lathe's own source: a folder or a git URL, either with #REF
    #[arg(long, value_name = "DIR|URL#REF", default_value = ".")]
    source: String,
    /// Install no Debian packages; refuse to start when one is missing
    #[arg(long)]
    no_install: bool,
}

/// Why the platform is what it was before.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    #[error("there is no source to be pushed")]
    Source(#[from] SourceError),
    #[error("cannot make a folder below {}", path.display())]
    Room {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the source cannot be pushed")]
    Push(#[from] RemoteError),
    #[error("the platform does not answer as it has to")]
    Client(#[from] ClientError),
    #[error("the platform was told to stop")]
    Stopped,
    #[error("a step has broken off")]
    Broken(#[source] JoinError),
    #[error("v{version} was taken back:\n{why}")]
    TakenBack { version: u32, why: String },
}

impl HandOverError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Push(_) => "See what git said above.".into(),
            Self::Source(_) => "Name Lathe's source: --source DIR, or URL#REF.".into(),
            Self::TakenBack { .. } => {
                "The platform is what it was before; mend that, and do it again.".into()
            }
            _ => "Do it again: what is done is not done twice.".into(),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Release {
    version: u32,
    status: String,
    current: bool,
    failure: Option<String>,
    slug: Option<Identity>,
}

impl Release {
    fn is_underway(&self) -> bool {
        self.current || self.status == "pending"
    }
}

#[derive(Debug, Deserialize)]
struct Identity {
    id: String,
}

/// Keeps a platform running, unless somebody does, and makes it a release of itself.
pub(super) fn bootstrap(
    config: &Config,
    flags: &Flags,
    how: &HandOver,
) -> Result<ExitCode, CliError> {
    // One that was killed is named for as long as what it was just starting has a copy of its lock.
    let keeper = instance::holder(&instance::keeper_dir(&config.data))?;
    let kept = keeper.is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists());
    crate::cli::readable_by_dynos();
    let launch = up::launch(config, flags, how.no_install, false);
    let keeps_on = runtime()?.block_on(async {
        if kept {
            hand_over(config, &how.source).await.map_err(BootstrapError::HandOver)?;
            return Ok::<_, CliError>(None);
        }
        up::prepare_host(how.no_install)?;
        keep_and_hand_over(config, &launch, &how.source).await
    })?;
    if let Some(signals) = keeps_on {
        let post = Post { yields: true, ..up::first_post()? };
        up::keep(config, &launch, post, Some(signals))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The signals by which it is told to stop, where it is to be kept on: it has not been told yet. This
/// very program keeps it meanwhile, for it has something to say at the end.
async fn keep_and_hand_over(
    config: &Config,
    launch: &Launch,
    source: &str,
) -> Result<Option<Signals>, CliError> {
    let mut signals = Signals::watch()?;
    let was_there = instance::holder(&config.data)?.is_some();
    let (tell, told) = oneshot::channel();
    let told = async {
        tokio::select! {
            dynos = signals.next() => dynos,
            failed = told => failed.unwrap_or(Dynos::Stay),
        }
    };
    let mut keeping = Box::pin(hosting::keep(config, launch, up::first_post()?, told));
    let done = tokio::select! {
        kept = &mut keeping => {
            kept.map_err(UpVerbError::Keep)?;
            return Ok(None);
        }
        done = hand_over(config, source) => done,
    };
    if let Err(error) = done {
        // Without a hand-over there is nothing to keep; but what was there before is not ours to end.
        if !was_there {
            // It waits for as long as it lives.
            tell.send(Dynos::Stay).ok();
            keeping.await.map_err(UpVerbError::Keep)?;
        }
        return Err(BootstrapError::HandOver(error).into());
    }
    drop(keeping);
    Ok(Some(signals))
}

async fn hand_over(config: &Config, source: &str) -> Result<(), HandOverError> {
    say!("-----> Platform: waiting until it answers");
    let api = Api { config };
    api.releases().await;
    say!("-----> Source: {source}");
    let room = room(&config.data.join("bootstrap"))?;
    let commit = fetch(room.path(), Origin::parse(source)).await?;
    let mut is_new = false;
    loop {
        api.nothing_is_built().await;
        let release = match api.release_of(&commit).await {
            Some(release) if release.status == "pending" => release,
            // It may be recorded and yet not run: after a rescue, say.
            Some(release) if release.current && api.runs(release.version).await => release,
            before => {
                is_new = true;
                api.release(room.path(), &commit, before).await?;
                api.release_of(&commit).await.ok_or(HandOverError::Stopped)?
            }
        };
        let version = release.version;
        say!("-----> Trial: v{version}, from {commit}");
        match api.settled(version).await.failure {
            None => {
                say!("-----> Handed over: this platform is v{version} of its app {}", system::NAME);
                return Ok(());
            }
            // What was begun by a command that was killed may have been cut off with it.
            Some(_) if !is_new => {}
            Some(why) => return Err(HandOverError::TakenBack { version, why }),
        }
    }
}

/// Of this command alone, and gone with it. One that was killed has left its own, where its git may be
/// at work still: then it is removed the next time.
fn room(parent: &Path) -> Result<TempDir, HandOverError> {
    let failed = |source| HandOverError::Room { path: parent.to_owned(), source };
    fs::create_dir_all(parent).map_err(failed)?;
    for left in fs::read_dir(parent).map_err(failed)?.flatten() {
        fs::remove_dir_all(left.path()).ok();
    }
    tempfile::Builder::new().prefix("source-").tempdir_in(parent).map_err(failed)
}

async fn fetch(room: &Path, origin: Origin) -> Result<String, HandOverError> {
    let tree = tree(room);
    let fetched = tokio::task::spawn_blocking(move || check_out(&origin, &tree, &Stop::default()));
    Ok(fetched.await.map_err(HandOverError::Broken)??)
}

fn tree(room: &Path) -> PathBuf {
    room.join("source")
}

fn path(rest: &str) -> String {
    format!("/apps/{}/{rest}", system::NAME)
}

/// A platform that does not answer: whoever waits for it is told now and then why.
struct Awaited {
    told: Instant,
}

impl Awaited {
    fn now() -> Self {
        Self { told: Instant::now() }
    }

    async fn on(&mut self, why: &str) {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            say!("       The platform does not answer as it has to, and is asked on: {why}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The API of the platform of a data directory, whichever version it is at the moment.
struct Api<'a> {
    config: &'a Config,
}

impl Api<'_> {
    fn client(&self) -> Result<Client, HandOverError> {
        let access = Access::of(self.config).map_err(|_| HandOverError::Stopped)?;
        Ok(Client::of(&access)?)
    }

    /// As soon as there is a platform: while one version comes after another there is none.
    async fn access(&self) -> Access {
        let mut awaited = Awaited::now();
        loop {
            match Access::of(self.config) {
                Ok(access) => return access,
                Err(error) => awaited.on(&causes(&error)).await,
            }
        }
    }

    async fn get(&self, rest: &str) -> Result<Value, HandOverError> {
        Ok(self.client()?.call(Method::GET, &path(rest), &Value::Null).await?)
    }

    /// Asks for something, once: what may have been heard is not asked for again.
    async fn post(&self, rest: &str, body: &Value) -> Result<(), HandOverError> {
        let mut awaited = Awaited::now();
        loop {
            let client = Client::of(&self.access().await)?;
            match client.post(&path(rest), body).await {
                Ok(_) => return Ok(()),
                Err(error @ ClientError::Connect { .. }) => awaited.on(&causes(&error)).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What it answers, as soon as it does.
    async fn answer<T: DeserializeOwned>(&self, rest: &str) -> T {
        let mut awaited = Awaited::now();
        loop {
            let why = match self.get(rest).await.map(serde_json::from_value) {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => causes(&error),
                Err(error) => causes(&error),
            };
            awaited.on(&why).await;
        }
    }

    /// Newest first.
    async fn releases(&self) -> Vec<Release> {
        let mut all: Vec<Release> = self.answer("releases").await;
        all.sort_by_key(|release| std::cmp::Reverse(release.version));
        all
    }

    /// The release of that commit which runs or is to run, or else the last one that did not.
    async fn release_of(&self, commit: &str) -> Option<Release> {
        let mut last = None;
        for release in self.releases().await {
            let Some(slug) = &release.slug else { continue };
            let described: Value = self.answer(&format!("slugs/{}", slug.id)).await;
            if described["commit"] != commit {
                continue;
            }
            if release.is_underway() {
                return Some(release);
            }
            last = last.or(Some(release));
        }
        last
    }

    /// Whether the platform is a process of that release.
    async fn runs(&self, version: u32) -> bool {
        let dynos: Vec<Value> = self.answer("dynos").await;
        dynos
            .iter()
            .any(|dyno| dyno["type"] == system::PLATFORM && dyno["release"]["version"] == version)
    }

    /// Waits for what a command that was killed has had compiled.
    async fn nothing_is_built(&self) {
        loop {
            let builds: Vec<Value> = self.answer("builds").await;
            if !builds.iter().any(|build| build["status"] == "pending") {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Makes a release of the commit: of its slug, if it was compiled before.
    async fn release(
        &self,
        room: &Path,
        commit: &str,
        before: Option<Release>,
    ) -> Result<(), HandOverError> {
        if let Some(slug) = before.and_then(|release| release.slug) {
            say!("-----> Slug: there is one of {commit}");
            let body = json!({"slug": slug.id, "description": "Bootstrap"});
            return self.post("releases", &body).await;
        }
        say!("-----> Slug: pushing {commit}");
        let pushed = self.push(room).await;
        // It may be cut off by the very upgrade that it asks for, or be refused for the sake of a push by
        // a command that was killed: the releases tell.
        self.nothing_is_built().await;
        match self.release_of(commit).await {
            Some(_) => Ok(()),
            None => pushed,
        }
    }

    async fn push(&self, room: &Path) -> Result<(), HandOverError> {
        let access = self.access().await;
        let authority = self.config.ca_certificate();
        let port = access.endpoints.api_tls.port();
        let home = room.join("home");
        let remote = Remote::make(&home, system::NAME, port, &access.token, &authority)?;
        let push = ["push", "--force", remote.url(), "HEAD:refs/heads/main"];
        Ok(remote.git(&tree(room), &push, Stdio::inherit()).await?)
    }

    async fn settled(&self, version: u32) -> Release {
        loop {
            let all = self.releases().await;
            let found = all.into_iter().find(|release| release.version == version);
            if let Some(release) = found.filter(|release| release.status != "pending") {
                return release;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
