//! A slug made once more, from what was recorded of it: the same commit, buildpacks, stack and config,
//! and no cache. What comes out is stored like any slug, and released by nobody.

use super::compile::Work;
use super::transcript::Transcript;
use super::{BuildError, Builder, Follower, Shared, Source};
use crate::stack;
use crate::state::model::{App, Config, Slug, UsedBuildpack};
use lathe_slug::Manifest;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What was built once.
#[derive(Clone, Debug)]
pub struct Original {
    pub app: App,
    pub slug: Slug,
    /// The config vars that its build was given.
    pub config: Config,
    /// The app's repository.
    pub repo: PathBuf,
}

/// A rebuild under way; dropping it ends it.
#[derive(Debug)]
pub struct Rebuilding {
    /// All it says, from the beginning.
    pub output: Follower,
    end: oneshot::Receiver<Result<Manifest, BuildError>>,
    _cancel: tokio_util::sync::DropGuard,
}

impl Rebuilding {
    pub async fn ended(self) -> Result<Manifest, BuildError> {
        self.end.await.unwrap_or(Err(BuildError::Closed))
    }
}

/// Rebuilds have disks of their own, which are removed when they end.
pub(super) fn disks(data: &Path) -> PathBuf {
    data.join("cache/rebuilds")
}

/// Removes what a platform that was killed has left.
pub(super) fn forget_disks(data: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(disks(data)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(disks(data)),
    }
}

/// Removes the disk however the rebuild ends.
struct Disk(PathBuf);

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        drop(std::fs::remove_file(&self.0));
    }
}

/// What has to be found again before anything can be built.
struct Found {
    commit: git2::Oid,
    stack: PathBuf,
    buildpacks: Vec<String>,
}

impl Builder {
    /// Begins to make a slug again; refused when what it was made from is not here any more, and
    /// while another rebuild runs.
    pub fn rebuild(&self, original: Original) -> Result<Rebuilding, BuildError> {
        let shared = Arc::clone(&self.shared);
        if shared.closing.is_cancelled() {
            return Err(BuildError::Closed);
        }
        let found = shared.find(&original)?;
        let id = Uuid::new_v4().to_string();
        let mut transcript = shared.transcripts.create(&id).map_err(BuildError::Pipe)?;
        let output = transcript.follow().map_err(BuildError::Pipe)?;
        let cancel = CancellationToken::new();
        let (answer, end) = oneshot::channel();
        let guard = cancel.clone().drop_guard();
        self.shared.builds.spawn(async move {
            let result = shared.again(&id, &original, found, &mut transcript, &cancel).await;
            if let Err(error) = &result {
                transcript.error(&error.explain());
            }
            drop(transcript);
            drop(answer.send(result));
        });
        Ok(Rebuilding { output, end, _cancel: guard })
    }
}

impl Shared {
    fn find(&self, original: &Original) -> Result<Found, BuildError> {
        let gone = |what: &str| BuildError::NotAgain { what: what.to_owned() };
        let slug = &original.slug;
        let inputs = slug.inputs.as_ref().ok_or_else(|| gone("it was built elsewhere"))?;
        let commit = slug.commit.as_deref().and_then(|text| git2::Oid::from_str(text).ok());
        let commit = commit.filter(|commit| has_commit(&original.repo, *commit));
        let commit = commit.ok_or_else(|| gone("its commit is not in the app's repository"))?;
        let stack = stack::find(&self.services.config, &inputs.build_stack).ok().flatten();
        let stack = stack.ok_or_else(|| gone("its build stack is not on this machine"))?.root;
        let ours = env!("CARGO_PKG_VERSION");
        if inputs.lathe != ours {
            return Err(gone(&format!("Lathe {} built it, this is {ours}", inputs.lathe)));
        }
        let buildpacks = slug.buildpacks.iter().map(|used| used.pinned.clone()).collect();
        Ok(Found { commit, stack, buildpacks })
    }

    async fn again(
        &self,
        id: &str,
        original: &Original,
        found: Found,
        transcript: &mut Transcript,
        cancel: &CancellationToken,
    ) -> Result<Manifest, BuildError> {
        // One at a time: a disk of its own is as large as that of any build.
        let _turn = self.rebuilding.try_acquire().map_err(|_| BuildError::Rebuilding)?;
        let disk = Disk(disks(&self.services.config.data).join(format!("{id}.img")));
        let Found { commit, stack, buildpacks } = found;
        let repo = original.repo.clone();
        let source = Source::Commit { repo, quarantine: None, commit };
        let work = Work {
            id,
            app: &original.app,
            source: &source,
            header: self.job(id, &commit.to_string(), original.config.clone(), buildpacks),
            stack: &stack,
            disk: &disk.0,
        };
        let (compiled, manifest) = self.compile(work, transcript, cancel).await?;
        match another(&original.slug.buildpacks, &compiled.buildpacks) {
            Some(name) => Err(BuildError::NotAgain {
                what: format!("buildpack {name} is not as it was when it was built"),
            }),
            None => Ok(manifest),
        }
    }
}

/// The first buildpack that is another one now: a reference to one that comes with Lathe, or from the
/// registry, does not say which.
fn another<'a>(
    then: &'a [UsedBuildpack],
    now: &[lathe_compiler::UsedBuildpack],
) -> Option<&'a str> {
    let digests = now.iter().map(|used| Some(used.digest.as_str())).chain(std::iter::repeat(None));
    let mut pairs = then.iter().zip(digests);
    pairs.find(|(used, now)| *now != Some(&used.digest)).map(|(used, _)| used.name.as_str())
}

/// Whether it is there: what it says is read by a git of its own.
fn has_commit(repo: &Path, commit: git2::Oid) -> bool {
    let holds = |repo: &git2::Repository| repo.odb().is_ok_and(|objects| objects.exists(commit));
    git2::Repository::open_bare(repo).is_ok_and(|repo| holds(&repo))
}
