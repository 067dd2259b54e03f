//! Builds: from a commit or an archive to a release that serves.
//!
//! One build of an app at a time. Its words go to a transcript that anybody may follow; its end is
//! a release, or a reason. Nothing of a build outlives it but its slug, its cache and its transcript.

mod bundle;
mod compile;
mod dyno;
mod error;
mod export;
mod launch;
mod objects;
mod rebuild;
mod transcript;
mod tree;
mod verdict;
pub mod worker;

pub use bundle::{BundleError, lay_out as lay_out_buildpacks};
pub use dyno::{CA_VARIABLES, MIRROR_VARIABLE, cache_of};
pub use error::BuildError;
pub use rebuild::{Original, Rebuilding};
pub use transcript::{Follower, Transcripts};

use crate::services::Services;
use crate::state::model::{Account, App, Build, Release};
use crate::state::{StateError, builds};
use compile::Work;
use git2::Oid;
use lathe_compiler::{Catalogue, CompileError};
use lathe_logs::Source as LogSource;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transcript::Transcript;

/// What shall be built, for whom.
#[derive(Clone, Debug)]
pub struct Request {
    pub app: App,
    pub account: Account,
    pub source: Source,
    /// A commit id, or whatever the caller calls the version of an archive.
    pub source_version: String,
    /// None: the app's own list.
    pub buildpacks: Option<Vec<String>>,
}

/// Where the source is.
#[derive(Clone, Debug)]
pub enum Source {
    Commit {
        repo: PathBuf,
        /// Where git keeps the objects of a push that it has not accepted yet.
        quarantine: Option<PathBuf>,
        commit: Oid,
    },
    /// A gzip tar; the caller's file, read once.
    Archive(PathBuf),
}

/// Makes builds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Builder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    services: Services,
    /// This program, which is the compiler in a build dyno.
    lathe: PathBuf,
    buildpacks: PathBuf,
    transcripts: Transcripts,
    builds: TaskTracker,
    /// Held by the one rebuild that may run.
    rebuilding: Semaphore,
    closing: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the directory {} could not be used", path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the bundled buildpacks could not be laid out")]
    Bundle(#[source] BundleError),
    #[error("builds that were interrupted could not be ended")]
    Leftovers(#[source] BuildError),
    #[error("builds that were interrupted could not be recorded as failed")]
    State(#[source] StateError),
}

/// A build under way. Dropping it changes nothing: a build ends by itself or by its token.
#[derive(Debug)]
pub struct Running {
    pub build: Build,
    /// All it says, from the beginning.
    pub output: Follower,
    end: oneshot::Receiver<Result<Release, BuildError>>,
}

impl Running {
    /// Waits until the release serves, or for the reason why not. What there is to say about it is
    /// in the transcript already.
    pub async fn ended(self) -> Result<Release, BuildError> {
        self.end.await.unwrap_or(Err(BuildError::Closed))
    }
}

impl Builder {
    /// Ends what an earlier life of the platform has left of its builds, and is ready for new ones.
    pub async fn open(services: Services, lathe: &Path) -> Result<Self, OpenError> {
        let data = &services.config.data;
        let directory = |path: PathBuf| move |source| OpenError::Directory { path, source };
        let cache = data.join("cache");
        std::fs::create_dir_all(&cache).map_err(directory(cache))?;
        rebuild::forget_disks(data).map_err(directory(rebuild::disks(data)))?;
        let logs = data.join("builds");
        let transcripts = Transcripts::open(logs.clone(), services.config.build.output_bytes)
            .map_err(directory(logs))?;
        let buildpacks = bundle::lay_out(&data.join("buildpacks")).map_err(OpenError::Bundle)?;
        let left = dyno::end_leftovers(&*services.engine).await.map_err(OpenError::Leftovers)?;
        let failed =
            services.store.write(builds::fail_interrupted).await.map_err(OpenError::State)?;
        if left + failed > 0 {
            tracing::info!(builds = failed, dynos = left, "interrupted builds were ended");
        }
        let shared = Shared {
            services,
            lathe: lathe.to_owned(),
            buildpacks,
            transcripts,
            builds: TaskTracker::new(),
            rebuilding: Semaphore::new(1),
            closing: CancellationToken::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Cancels what is being built and waits for the end of it.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        self.shared.builds.close();
        self.shared.builds.wait().await;
    }

    /// The buildpacks that have names here.
    pub fn catalogue(&self) -> Result<Catalogue, CompileError> {
        let config = &self.shared.services.config.build;
        Catalogue::open(&self.shared.buildpacks, config.registry.as_deref(), &config.buildpacks)
    }

    pub fn transcripts(&self) -> &Transcripts {
        &self.shared.transcripts
    }

    /// Begins a build; refused while the app has another one. `cancel` ends it at any point before
    /// its release exists.
    pub async fn begin(
        &self,
        request: Request,
        cancel: CancellationToken,
    ) -> Result<Running, BuildError> {
        if self.shared.closing.is_cancelled() {
            return Err(BuildError::Closed);
        }
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        // All of it in a task of its own: a caller that goes away in the middle must not leave a
        // build that is recorded as running and that nobody runs.
        self.shared
            .builds
            .spawn(async move { Box::pin(shared.build(request, cancel, answer)).await });
        answered.await.unwrap_or(Err(BuildError::Closed))
    }
}

impl Shared {
    async fn build(
        &self,
        request: Request,
        cancel: CancellationToken,
        answer: oneshot::Sender<Result<Running, BuildError>>,
    ) {
        let (build, mut transcript, output) = match self.record(&request).await {
            Ok(begun) => begun,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let (end, ended) = oneshot::channel();
        let running = Running { build: build.clone(), output, end: ended };
        if answer.send(Ok(running)).is_err() {
            cancel.cancel();
        }
        let result = self.run(&build, &request, &mut transcript, &cancel).await;
        if let Err(error) = &result {
            self.fail(&build, &request, error, &mut transcript).await;
        }
        // The transcript ends before the result is there, so that a reader of both has all of it.
        drop(transcript);
        drop(end.send(result));
    }

    async fn record(&self, request: &Request) -> Result<(Build, Transcript, Follower), BuildError> {
        let (app, account) = (request.app.id.clone(), request.account.clone());
        let version = request.source_version.clone();
        let stack = self.services.stacks.run.digest.clone();
        let build = self
            .services
            .store
            .write(move |tx| builds::begin(tx, &app, &account, &version, &stack))
            .await
            .map_err(BuildError::Begin)?;
        let begun = self.transcripts.create(&build.id).and_then(|transcript| {
            let follower = transcript.follow()?;
            Ok((transcript, follower))
        });
        match begun {
            Ok((transcript, follower)) => Ok((build, transcript, follower)),
            Err(error) => {
                self.set_failed(&build).await;
                Err(BuildError::Pipe(error))
            }
        }
    }

    /// The three steps.
    async fn run(
        &self,
        build: &Build,
        request: &Request,
        transcript: &mut Transcript,
        cancel: &CancellationToken,
    ) -> Result<Release, BuildError> {
        let account = &request.account.email;
        self.say(&request.app, &format!("Build started by user {account}"));
        let work = Work {
            id: &build.id,
            app: &request.app,
            source: &request.source,
            header: self.header(build, request).await?,
            stack: &self.services.stacks.build.root,
            disk: &cache_of(&self.services.config.data, &request.app.id),
        };
        let (compiled, manifest) = self.compile(work, transcript, cancel).await?;
        // The compiler has ended by itself before anybody asked it to: its slug is still no release.
        if cancel.is_cancelled() || self.closing.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let release = self.release(build, request, compiled, manifest).await?;
        self.launch(request, release, transcript, cancel).await
    }

    async fn fail(
        &self,
        build: &Build,
        request: &Request,
        error: &BuildError,
        transcript: &mut Transcript,
    ) {
        tracing::info!(
            app.name = request.app.name,
            build.id = build.id,
            error = error as &dyn std::error::Error,
            "a build failed"
        );
        transcript.error(&error.explain());
        if !matches!(error, BuildError::NotLive { .. }) {
            self.set_failed(build).await;
            self.say(&request.app, "Build failed -- check your build output");
        }
    }

    async fn set_failed(&self, build: &Build) {
        let id = build.id.clone();
        if let Err(error) = self.services.store.write(move |tx| builds::fail(tx, &id)).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a build stays pending");
        }
    }

    /// A line of the platform's API in the app's log, as on Heroku.
    fn say(&self, app: &App, text: &str) {
        self.services.say(&app.id, LogSource::App, "api", text);
    }
}
