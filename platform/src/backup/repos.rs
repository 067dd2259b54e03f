//! Repositories in a backup: their refs as they were, and one pack of all that these and the releases
//! need. Git makes and takes the packs, so that what is restored has been checked object by object.

use super::error::{BackupError, file};
use crate::git::quarantines;
use crate::plumbing;
use git2::{ErrorCode, Oid, Repository};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// For git to move to its place what a push has sent: some files are renamed.
const MOVE_TIMEOUT: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);

/// What one repository's names point to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Refs {
    head: String,
    refs: BTreeMap<String, Oid>,
}

impl Refs {
    pub(super) fn read(path: &Path) -> Result<Self, BackupError> {
        let failed = |source| BackupError::Repository { step: "read", path: path.into(), source };
        let repository = Repository::open_bare(path).map_err(failed)?;
        let head = repository.find_reference("HEAD").map_err(failed)?;
        let head = head.symbolic_target().ok().flatten().unwrap_or("refs/heads/main").to_owned();
        let mut refs = BTreeMap::new();
        for reference in repository.references().map_err(failed)? {
            let reference = reference.map_err(failed)?;
            if let (Ok(name), Some(target)) = (reference.name(), reference.target()) {
                refs.insert(name.to_owned(), target);
            }
        }
        Ok(Self { head, refs })
    }

    /// A line each, as `git show-ref` prints them, the branch of `HEAD` first.
    pub(super) fn to_text(&self) -> String {
        self.refs.iter().fold(format!("{}\n", self.head), |mut text, (name, oid)| {
            writeln!(text, "{oid} {name}").ok();
            text
        })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let head = lines.next()?.to_owned();
        let refs = lines.map(|line| {
            let (oid, name) = line.split_once(' ')?;
            Some((name.to_owned(), Oid::from_str(oid).ok()?))
        });
        Some(Self { head, refs: refs.collect::<Option<_>>()? })
    }
}

/// Packs what the refs and the commits reach, as far as these are there, into the file. None when
/// there is nothing.
pub(super) fn pack(
    repo: &Path,
    refs: &Refs,
    commits: &BTreeSet<Oid>,
    into: &File,
) -> Result<bool, BackupError> {
    // A release is written down while git still keeps apart what its push has sent. Of a repository that
    // is gone the next look tells.
    let apart = quarantines(repo).unwrap_or_default();
    let mut wanted: BTreeSet<Oid> = refs.refs.values().copied().collect();
    wanted.extend(found(repo, commits, &apart)?);
    if wanted.is_empty() {
        return Ok(false);
    }
    let mut lines = tempfile::tempfile().map_err(file("make", &std::env::temp_dir()))?;
    let written = wanted.iter().try_for_each(|oid| writeln!(lines, "{oid}"));
    let rewound = written.and_then(|()| lines.rewind());
    rewound.map_err(file("write", &std::env::temp_dir()))?;
    let out = into.try_clone().map_err(file("write", repo))?;
    let arguments = ["pack-objects", "--revs", "--stdout", "--delta-base-offset", "-q"];
    git("pack", repo, &apart, &arguments, lines, Stdio::from(out))?;
    Ok(true)
}

/// Those of the commits that are there, in the repository or in what is kept apart; the others were
/// pushed over long ago, and what they said is gone with them.
fn found(repo: &Path, commits: &BTreeSet<Oid>, apart: &[PathBuf]) -> Result<Vec<Oid>, BackupError> {
    let began = Instant::now();
    loop {
        // What is just being moved is for a moment in neither place.
        let is_still = apart.iter().all(|path| !path.exists()) || began.elapsed() > MOVE_TIMEOUT;
        let found = look(repo, commits, apart)?;
        if is_still || found.len() == commits.len() {
            return Ok(found);
        }
        sleep(AGAIN);
    }
}

fn look(repo: &Path, commits: &BTreeSet<Oid>, apart: &[PathBuf]) -> Result<Vec<Oid>, BackupError> {
    let failed = |source| BackupError::Repository { step: "read", path: repo.into(), source };
    let repository = Repository::open_bare(repo).map_err(failed)?;
    let objects = repository.odb().map_err(failed)?;
    for path in apart.iter().filter_map(|path| path.to_str()) {
        objects.add_disk_alternate(path).map_err(failed)?;
    }
    let mut found = Vec::new();
    for commit in commits {
        // What it says is read by git.
        match objects.read_header(*commit) {
            Ok(_) => found.push(*commit),
            Err(error) if error.code() == ErrorCode::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(found)
}

/// Makes a repository of what was packed.
pub(super) fn unpack(repo: &Path, refs: &Refs, pack: Option<&Path>) -> Result<(), BackupError> {
    let failed = |source| BackupError::Repository { step: "make", path: repo.into(), source };
    let mut options = git2::RepositoryInitOptions::new();
    options.bare(true).no_reinit(true).external_template(false).initial_head("main");
    let repository = Repository::init_opts(repo, &options).map_err(failed)?;
    if let Some(pack) = pack {
        let pack = File::open(pack).map_err(file("read", pack))?;
        let arguments = ["index-pack", "--stdin", "--strict"];
        git("take the pack of", repo, &[], &arguments, pack, Stdio::null())?;
    }
    for (name, target) in &refs.refs {
        repository.reference(name, *target, true, "restored").map_err(failed)?;
    }
    repository.set_head(&refs.head).map_err(failed)
}

/// Where objects are kept `apart`, git looks for them, too.
fn git(
    step: &'static str,
    repo: &Path,
    apart: &[PathBuf],
    arguments: &[&str],
    input: File,
    output: Stdio,
) -> Result<(), BackupError> {
    let mut command = plumbing::git(repo);
    command.args(arguments).env("GIT_DIR", repo);
    let apart: Vec<&OsStr> = apart.iter().map(|path| path.as_os_str()).collect();
    command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", apart.join(OsStr::new(":")));
    command.stdin(input).stdout(output).stderr(Stdio::piped());
    let ended = command.spawn().and_then(std::process::Child::wait_with_output);
    let ended = ended.map_err(file("run git in", repo))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().escape_debug().to_string();
    Err(BackupError::Git { step, path: repo.into(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_read_as_they_were_written() {
        let oid = Oid::from_str(&"ab".repeat(20)).unwrap();
        let refs = Refs {
            head: "refs/heads/main".into(),
            refs: [("refs/heads/main", oid), ("refs/tags/v 1", oid)]
                .map(|(name, oid)| (name.to_owned(), oid))
                .into(),
        };
        assert_eq!(Refs::parse(&refs.to_text()), Some(refs));
        assert_eq!(Refs::parse(""), None);
        assert_eq!(Refs::parse("refs/heads/main\nnonsense\n"), None);
    }

    #[test]
    fn what_a_push_has_sent_is_packed_from_where_git_keeps_it_apart() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("a.git");
        let sent = Repository::init_bare(&repo).unwrap().blob(b"sent").unwrap();
        let (objects, name) = (repo.join("objects"), sent.to_string());
        let apart = objects.join("tmp_objdir-incoming-x");
        std::fs::create_dir(&apart).unwrap();
        std::fs::rename(objects.join(&name[..2]), apart.join(&name[..2])).unwrap();
        let commits = BTreeSet::from([sent]);
        assert!(found(&repo, &commits, &[]).unwrap().is_empty());
        let into = tempfile::tempfile().unwrap();
        assert!(pack(&repo, &Refs::default(), &commits, &into).unwrap());
        assert!(into.metadata().unwrap().len() > 0);
    }
}
