//! What is built: one commit, cloned once, and pushed alike to every stage.

use crate::Stop;
use crate::compiling::locked;
use crate::program::{ProgramError, run};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// When a folder that is no repository was committed: the same commit whoever does it.
const COMMITTED_AT: &str = "2011-09-20T10:30:00Z";

/// Where the source comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// A folder, or a URL that git understands.
    pub repository: String,
    /// A branch, tag or commit; none: what is checked out there.
    pub reference: Option<String>,
}

impl Origin {
    /// `DIR`, `URL` or either with `#REF`. A folder of exactly this name is taken as it is.
    pub fn parse(text: &str) -> Self {
        let whole = || Self { repository: text.to_owned(), reference: None };
        if Path::new(text).is_dir() {
            return whole();
        }
        match text.rsplit_once('#') {
            Some((repository, reference)) if !repository.is_empty() && !reference.is_empty() => {
                Self { repository: repository.to_owned(), reference: Some(reference.to_owned()) }
            }
            _ => whole(),
        }
    }
}

/// Why there is nothing to build.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("git does not get it")]
    Git(#[from] ProgramError),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A clone with one commit checked out.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) tree: PathBuf,
    pub(crate) commit: String,
    /// The folder it was cloned from has changes that are not committed.
    pub(crate) uncommitted: bool,
    /// Packages in its `Cargo.lock`, if it has one.
    pub(crate) packages: Option<usize>,
}

impl Source {
    pub(crate) fn get(origin: &Origin, tree: &Path, stop: &Stop) -> Result<Self, SourceError> {
        let git = Git { stop };
        let local = Path::new(&origin.repository).canonicalize().ok().filter(|path| path.is_dir());
        match &local {
            Some(folder) if !folder.join(".git").exists() && !folder.join("HEAD").exists() => {
                git.commit(folder, tree)?;
            }
            _ => git.clone(&origin.repository, tree)?,
        }
        if let Some(reference) = &origin.reference {
            git.run(Some(tree), &["checkout", "--quiet", "--detach", reference, "--"])?;
        }
        let commit = git.run(Some(tree), &["rev-parse", "HEAD"])?;
        let uncommitted = match local.filter(|folder| folder.join(".git").exists()) {
            Some(folder) => !git.run(Some(&folder), &["status", "--porcelain"])?.is_empty(),
            None => false,
        };
        let lock = tree.join("Cargo.lock");
        let packages = match fs::read_to_string(&lock) {
            Ok(text) => Some(locked(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(SourceError::Read { path: lock, source }),
        };
        Ok(Self { tree: tree.to_owned(), commit, uncommitted, packages })
    }
}

/// Checks a commit out into a folder that does not exist yet, and gives its id.
pub fn check_out(origin: &Origin, tree: &Path, stop: &Stop) -> Result<String, SourceError> {
    Source::get(origin, tree, stop).map(|source| source.commit)
}

/// The git of this machine, with the user's own configuration: only who may fetch knows how.
struct Git<'a> {
    stop: &'a Stop,
}

impl Git<'_> {
    /// What it answers.
    fn run(&self, dir: Option<&Path>, arguments: &[&str]) -> Result<String, SourceError> {
        let mut command = Command::new("git");
        // What git tidies up behind our back, a clone may come upon half gone.
        command.args(["-c", "maintenance.auto=false", "-c", "gc.auto=0"]);
        command.args(dir.iter().flat_map(|dir| ["-C".as_ref(), dir.as_os_str()]));
        command.args(arguments).env("GIT_TERMINAL_PROMPT", "0");
        command.envs(["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"].map(|date| (date, COMMITTED_AT)));
        let said = run("git", command, self.stop, &mut |_| {})?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    fn clone(&self, from: &str, tree: &Path) -> Result<(), SourceError> {
        let tree = tree.display().to_string();
        self.run(None, &["clone", "--quiet", "--no-hardlinks", "--", from, &tree])?;
        Ok(())
    }

    /// A folder that is no repository becomes one, of a single commit; it stays as it is itself.
    fn commit(&self, folder: &Path, tree: &Path) -> Result<(), SourceError> {
        let (files, target) = (folder.display().to_string(), tree.display().to_string());
        self.run(None, &["init", "--quiet", "--initial-branch=main", "--", &target])?;
        self.run(Some(tree), &["--work-tree", &files, "add", "--all"])?;
        let identity = ["-c", "user.name=Lathe", "-c", "user.email=bootstrap@lathe.invalid"];
        let commit = [&identity[..], &["commit", "--quiet", "--message", "Source"]].concat();
        self.run(Some(tree), &commit)?;
        self.run(Some(tree), &["checkout", "--quiet", "--force", "main"])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_folder_or_a_url_with_a_reference() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a#b");
        fs::create_dir(&odd).unwrap();
        let odd = odd.display().to_string();
        let cases = [
            ("https://example.org/a.git#v1", "https://example.org/a.git", Some("v1")),
            ("https://example.org/a.git", "https://example.org/a.git", None),
            ("https://example.org/a.git#", "https://example.org/a.git#", None),
            (&odd, &odd, None),
        ];
        for (text, repository, reference) in cases {
            let reference = reference.map(str::to_owned);
            let expected = Origin { repository: repository.to_owned(), reference };
            assert_eq!(Origin::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_plain_folder_and_a_repository_are_both_one_commit() {
        let room = tempfile::tempdir().unwrap();
        let (plain, first) = (room.path().join("plain"), room.path().join("first"));
        fs::create_dir(&plain).unwrap();
        fs::write(plain.join("Cargo.lock"), "[[package]]\n").unwrap();
        let get = |origin: &Path, tree: &Path| {
            let origin = Origin::parse(&origin.display().to_string());
            Source::get(&origin, tree, &Stop::default()).unwrap()
        };
        let source = get(&plain, &first);
        assert_eq!((source.packages, source.uncommitted), (Some(1), false));
        assert!(first.join("Cargo.lock").is_file());
        assert!(!plain.join(".git").exists(), "the folder stays as it was");

        fs::write(first.join("new"), "").unwrap();
        let again = get(&first, &room.path().join("second"));
        assert_eq!((again.commit, again.uncommitted), (source.commit, true));
        assert!(!again.tree.join("new").exists());
    }
}
