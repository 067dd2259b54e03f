//! The first step of a build: source in, slug out, in a dyno that may do nothing else.

use super::dyno::{self, Ends};
use super::export::{self, ExportError, Exported, export};
use super::transcript::Transcript;
use super::verdict::{Seen, Stopped, judge};
use super::{BuildError, Request, Shared, Source};
use crate::stack::{self, HEROKU_STACK};
use crate::state::model::{App, Build};
use crate::state::{buildpacks, releases};
use crate::steps;
use flate2::read::MultiGzDecoder;
use lathe_compiler::Compiled;
use lathe_compiler::wire::{JobHeader, WireError, write_job};
use lathe_dynos::containers::Ended;
use lathe_slug::{Incoming, Manifest, StoreError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The compiler ends itself at the limit and says why; past it by this much it is ended.
const OVERTIME: Duration = Duration::from_secs(15);
const OUTCOME_BYTES_MAX: u64 = 1 << 20;

/// What one run of the compiler is given.
#[derive(Debug)]
pub(super) struct Work<'a> {
    /// The build's.
    pub(super) id: &'a str,
    pub(super) app: &'a App,
    pub(super) source: &'a Source,
    pub(super) header: JobHeader,
    /// Root of the stack it is compiled on.
    pub(super) stack: &'a Path,
    /// Where source and cache are meanwhile.
    pub(super) disk: &'a Path,
}

impl Shared {
    pub(super) async fn compile(
        &self,
        work: Work<'_>,
        transcript: &mut Transcript,
        cancel: &CancellationToken,
    ) -> Result<(Compiled, Manifest), BuildError> {
        let config = &self.services.config;
        let plan = dyno::Plan {
            config,
            app: &work.app.id,
            uid: work.app.uid,
            build: work.id,
            disk: work.disk,
            stack: work.stack,
            lathe: &self.lathe,
            buildpacks: &self.buildpacks,
        };
        let engine = &*self.services.engine;
        let (mut dyno, ends) = dyno::start(engine, &plan).await?;
        steps::passed("build dyno started");
        let Ends { job, transcript: mut said, slug, outcome } = ends;
        let limit = limit(work.app, config.build.timeout);
        let header = JobHeader { timeout_ms: millis(limit), ..work.header };
        let source = work.source.clone();
        let limits = export::Limits::of(config);
        let spoilt = CancellationToken::new();
        let spoil = spoilt.clone();
        let feeding = spawn_blocking(move || {
            let fed = feed(&job, &header, &source, &limits);
            // Open until the dyno has ended: half a source must not look like a whole one.
            let open = fed.is_err().then_some(job);
            if open.is_some() {
                spoil.cancel();
            }
            (open, fed)
        });
        let slugs = Arc::clone(&self.services.slugs);
        let storing = spawn_blocking(move || store(&slugs, slug));
        let answering = spawn_blocking(move || answer(outcome));

        let (ended, stopped) = {
            let mut pumping = pin!(pump(&mut said, transcript));
            let mut watching = pin!(self.watch(&mut dyno, limit, cancel, &spoilt));
            let mut pumped = false;
            let watched = loop {
                tokio::select! {
                    watched = &mut watching => break watched,
                    () = &mut pumping, if !pumped => pumped = true,
                }
            };
            // Everything of the dyno is gone, and with it every other end of the pipes.
            if !pumped {
                drop(timeout(dyno::KILL_TIMEOUT, pumping).await);
            }
            watched
        };
        steps::passed("build dyno ended");
        dyno.forget(engine).await;
        let flows = async { tokio::join!(feeding, storing, answering) };
        let Ok((fed, stored, answered)) = timeout(dyno::KILL_TIMEOUT, flows).await else {
            return Err(BuildError::Silent { status: 137 });
        };
        let seen = Seen {
            stopped,
            ended: ended?,
            outcome: answered?.map_err(BuildError::Pipe)?,
            memory_limit_bytes: config.build.memory_bytes,
            process_limit: config.build.pids,
        };
        let (_, fed) = fed?;
        conclude(seen, fed, stored?, transcript).await
    }

    /// Until nothing of the build runs any more: by itself, or because we ended it. A spoilt source
    /// is no verdict of ours: whoever handed it over knows the reason.
    async fn watch(
        &self,
        dyno: &mut dyno::Dyno,
        limit: Duration,
        cancel: &CancellationToken,
        spoilt: &CancellationToken,
    ) -> (Result<Ended, BuildError>, Option<Stopped>) {
        let engine = &*self.services.engine;
        let stopped = tokio::select! {
            ended = dyno.ended(engine) => match ended {
                Ok(ended) => return (Ok(ended), None),
                Err(error) => {
                    drop(dyno.kill(engine).await);
                    return (Err(error), None);
                }
            },
            () = spoilt.cancelled() => return (dyno.kill(engine).await, None),
            () = cancel.cancelled() => Stopped::Cancelled,
            () = self.closing.cancelled() => Stopped::Cancelled,
            () = tokio::time::sleep(limit + OVERTIME) => Stopped::TimedOut(limit),
        };
        (dyno.kill(engine).await, Some(stopped))
    }

    /// The job of a push: with the config and the buildpacks that the app has now.
    pub(super) async fn header(
        &self,
        build: &Build,
        request: &Request,
    ) -> Result<JobHeader, BuildError> {
        let app = request.app.id.clone();
        let (env, listed) = self
            .services
            .store
            .read(move |tx| {
                let env = releases::head(tx, &app)?.map(|head| head.config).unwrap_or_default();
                Ok((env, buildpacks::of_app(tx, &app)?))
            })
            .await
            .map_err(BuildError::State)?;
        let buildpacks = request.buildpacks.clone().unwrap_or(listed);
        let header = self.job(&build.id, &request.source_version, env, buildpacks);
        let is_archive = matches!(request.source, Source::Archive(_));
        Ok(JobHeader { is_archive, ..header })
    }

    /// A job on a commit with everything that the configuration says about builds.
    pub(super) fn job(
        &self,
        id: &str,
        source_version: &str,
        env: BTreeMap<String, String>,
        buildpacks: Vec<String>,
    ) -> JobHeader {
        let config = &self.services.config.build;
        JobHeader {
            env,
            extra_env: dyno::environment(&self.services.config),
            stack: stack::RUN.into(),
            buildpack_stack: HEROKU_STACK.into(),
            source_version: source_version.to_owned(),
            request_id: id.to_owned(),
            buildpacks,
            builtin_dir: dyno::BUILDPACKS.into(),
            registry_dir: config.registry.is_some().then(|| dyno::REGISTRY.into()),
            order: config.buildpacks.clone(),
            source_date_epoch: lathe_slug::SLUG_MTIME_SECONDS,
            timeout_ms: millis(config.timeout),
            fetch_timeout_ms: millis(config.fetch_timeout),
            fetch_bytes_max: config.fetch_bytes,
            output_bytes_max: config.output_bytes,
            cache_bytes_max: config.cache_bytes,
            limits: self.services.config.archives,
            is_archive: false,
        }
    }
}

/// Lathe itself is larger than most apps and nobody's hostile code: a slow machine is no reason not
/// to have its next version.
fn limit(app: &App, timeout: Duration) -> Duration {
    const OF_THE_PLATFORM: Duration = Duration::from_hours(4);
    if app.system { timeout.max(OF_THE_PLATFORM) } else { timeout }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Passes on what the compiler says, until all of the dyno has closed its end.
async fn pump(said: &mut pipe::Receiver, transcript: &mut Transcript) {
    let mut piece = vec![0; 16 * 1024];
    let mut heard = false;
    // A broken pipe is the end of it, too.
    while let Ok(read @ 1..) = said.read(&mut piece).await {
        if !std::mem::replace(&mut heard, true) {
            steps::passed("compiler at work");
        }
        // What is too much is still read: a build must not hang because it talks.
        transcript.output(piece.get(..read).unwrap_or_default());
    }
}

/// The verdict, and the slug made durable when it is a good one.
async fn conclude(
    seen: Seen,
    fed: Result<Exported, BuildError>,
    stored: Result<Incoming, StoreError>,
    transcript: &mut Transcript,
) -> Result<(Compiled, Manifest), BuildError> {
    let judged = judge(&seen);
    // A source that could not be read to its end explains everything that followed.
    let stopped = matches!(judged, Err(BuildError::Cancelled | BuildError::TimedOut { .. }));
    let Exported { submodules } = match fed {
        Err(error) if !stopped => return Err(error),
        fed => fed.unwrap_or_default(),
    };
    // So does a slug that could not be stored: the compiler only sees a pipe that nobody reads.
    let stored = match (&judged, stored) {
        (Err(BuildError::Rejected { .. }), Err(error)) => return Err(BuildError::Slug(error)),
        (_, stored) => stored,
    };
    let compiled = judged?;
    if !submodules.is_empty() {
        let names = submodules.join(", ");
        transcript.say(&format!(
            " !     Submodules are not built, their folders are left out: {names}\n"
        ));
    }
    let incoming = stored.map_err(BuildError::Slug)?;
    let manifest = spawn_blocking(move || incoming.commit()).await?.map_err(BuildError::Slug)?;
    steps::passed("slug stored");
    if manifest.id != compiled.manifest.id {
        return Err(BuildError::Damaged);
    }
    Ok((compiled, manifest))
}

/// Hands the job and its source over. A reader that has gone is not an error of the source: the
/// compiler's own answer says why it stopped reading.
fn feed(
    job: &File,
    header: &JobHeader,
    source: &Source,
    limits: &export::Limits,
) -> Result<Exported, BuildError> {
    let mut job = BufWriter::with_capacity(128 * 1024, job);
    match write_job(&mut job, header) {
        Err(WireError::Write(error)) if is_gone(&error) => return Ok(Exported::default()),
        Err(error) => return Err(BuildError::Job(error)),
        Ok(()) => {}
    }
    let exported = match source {
        Source::Commit { repo, quarantine, commit } => {
            match export(repo, quarantine.as_deref(), *commit, limits, &mut job) {
                Err(ExportError::Write { source, .. }) if is_gone(&source) => Exported::default(),
                other => other?,
            }
        }
        Source::Archive(path) => {
            copy_archive(path, &mut job)?;
            Exported::default()
        }
    };
    match job.flush() {
        Err(error) if !is_gone(&error) => return Err(BuildError::Pipe(error)),
        _ => {}
    }
    steps::passed("source exported");
    Ok(exported)
}

/// The compiler unpacks, in its dyno, and stops reading where a limit is reached.
fn copy_archive(path: &Path, out: &mut impl Write) -> Result<(), BuildError> {
    let file = File::open(path).map_err(BuildError::Archive)?;
    let mut tar = MultiGzDecoder::new(file);
    let mut piece = vec![0; 128 * 1024];
    loop {
        let read = tar.read(&mut piece).map_err(BuildError::Archive)?;
        if read == 0 {
            return Ok(());
        }
        match out.write_all(piece.get(..read).unwrap_or_default()) {
            Err(error) if is_gone(&error) => return Ok(()),
            other => other.map_err(BuildError::Pipe)?,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Takes the slug in as it comes. It is a slug only once the compiler has said so.
fn store(slugs: &lathe_slug::Store, mut slug: File) -> Result<Incoming, StoreError> {
    let mut incoming = slugs.begin()?;
    let mut piece = vec![0; 128 * 1024];
    let mut compiled = false;
    // A pipe that cannot be read has ended; what came is then not what the compiler announced.
    while let Ok(read @ 1..) = slug.read(&mut piece) {
        if !std::mem::replace(&mut compiled, true) {
            steps::passed("compiled");
        }
        incoming.append(piece.get(..read).unwrap_or_default())?;
    }
    steps::passed("slug packed");
    Ok(incoming)
}

fn answer(outcome: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    outcome.take(OUTCOME_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
