//! The folder of finished stacks: what is there, and how one comes to be there all at once.
//!
//! `<dir>/<name>/<digest>/root` is the tree, `lathe-stack.json` beside it says what it is.
//! Stacks are made in `<dir>/building` and renamed into place when they are complete and on disk,
//! so whatever is found under a digest can be used.

use super::Stack;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const RECORD: &str = "lathe-stack.json";
const BUILDING: &str = "building";
/// Enough of a digest to name a directory.
const DIGEST_LETTERS: usize = 16;

/// What a stack is, kept beside its tree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    pub name: String,
    pub digest: String,
    /// Digest of the recipe it was built from.
    pub recipe: String,
    /// Digest of the run stack below a build stack.
    pub base: Option<String>,
    /// Debian's code name.
    pub suite: String,
    /// Unix time in seconds.
    pub built_at: i64,
    pub size_bytes: u64,
    /// `name=version` of every package, sorted.
    pub packages: BTreeSet<String>,
}

/// Why the folder of stacks could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a stack's record", path.display())]
    Record {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot lock {}", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make room for a new stack in {}", path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot put a finished stack in place at {}", path.display())]
    Finish {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl ShelfError {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A finished stack and where it is.
#[derive(Clone, Debug)]
pub(super) struct Shelved {
    pub(super) record: Record,
    pub(super) root: PathBuf,
}

impl Shelved {
    pub(super) fn into_stack(self) -> Stack {
        Stack { name: self.record.name, digest: self.record.digest, root: self.root }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
}

/// The right to build; given up when dropped, also by a killed process.
#[derive(Debug)]
pub(super) struct Lock {
    shelf: Shelf,
    _file: Flock<File>,
}

impl Shelf {
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }

    /// All finished stacks, newest first.
    pub(super) fn list(&self) -> Result<Vec<Shelved>, ShelfError> {
        let stacks = self.stacks()?;
        let mut found =
            stacks.iter().map(|stack| read(stack)).collect::<Result<Vec<Shelved>, _>>()?;
        found.sort_by_key(|stack| std::cmp::Reverse(stack.record.built_at));
        Ok(found)
    }

    /// The stack with this digest. What cannot be read of another one, which somebody may be about to
    /// remove, is no reason not to find it.
    pub(super) fn find(&self, digest: &str) -> Result<Option<Shelved>, ShelfError> {
        let mut unclear = None;
        for stack in self.stacks()? {
            match read(&stack) {
                Ok(found) if found.record.digest == digest => return Ok(Some(found)),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a stack is passed over"
                    );
                    // Its name says what its record cannot. Without a record it is no stack.
                    if stack.ends_with(folder_of(digest)) && !error.is_missing() {
                        unclear = Some(error);
                    }
                }
            }
        }
        unclear.map_or(Ok(None), Err)
    }

    /// The folders of all finished stacks.
    fn stacks(&self) -> Result<Vec<PathBuf>, ShelfError> {
        let mut found = Vec::new();
        for name in folders(&self.dir)? {
            if !name.ends_with(BUILDING) {
                found.extend(folders(&name)?);
            }
        }
        Ok(found)
    }

    /// Waits until no other process builds, then clears away what a killed one left.
    pub(super) fn lock(&self, progress: &mut dyn FnMut(&str)) -> Result<Lock, ShelfError> {
        let path = self.dir.join("lock");
        let failed = |source| ShelfError::Lock { path: path.clone(), source };
        fs::create_dir_all(&self.dir).map_err(failed)?;
        let file = File::create(&path).map_err(failed)?;
        let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                progress("another process is building the stacks; waiting for it");
                Flock::lock(file, FlockArg::LockExclusive)
                    .map_err(|(_, errno)| failed(errno.into()))?
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        let lock = Lock { shelf: self.clone(), _file: held };
        lock.sweep()?;
        Ok(lock)
    }

    /// Whether another process builds. One that cannot be asked after does not.
    pub(super) fn is_locked(&self) -> bool {
        let Ok(file) = File::open(self.dir.join("lock")) else { return false };
        let taken = Flock::lock(file, FlockArg::LockSharedNonblock);
        matches!(taken, Err((_, nix::errno::Errno::EWOULDBLOCK)))
    }

    fn building(&self) -> PathBuf {
        self.dir.join(BUILDING)
    }
}

impl Lock {
    /// An empty directory for a stack to be built in.
    pub(super) fn prepare(&self, name: &str) -> Result<PathBuf, ShelfError> {
        let path = self.shelf.building().join(name);
        match fs::create_dir_all(path.join("root")) {
            Ok(()) => Ok(path),
            Err(source) => Err(ShelfError::Prepare { path, source }),
        }
    }

    /// Removes whatever is half built. Its mounts are gone already: they lived in a mount
    /// namespace that ended with the process that built.
    pub(super) fn sweep(&self) -> Result<(), ShelfError> {
        let path = self.shelf.building();
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ShelfError::Prepare { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Writes the record, brings everything to disk and renames the stack into place. When a
    /// stack of the same content is there already, that one stays and counts as built now.
    pub(super) fn finish(&self, built: &Path, record: Record) -> Result<Shelved, ShelfError> {
        let folder = self.shelf.dir.join(&record.name);
        let path = folder.join(folder_of(&record.digest));
        let put = || -> io::Result<()> {
            let bytes = serde_json::to_vec_pretty(&record)?;
            fs::create_dir_all(&folder)?;
            if path.exists() {
                lathe_slug::fs::atomic_write(&path.join(RECORD), &bytes, 0o644)?;
            } else {
                fs::write(built.join(RECORD), &bytes)?;
                rustix::fs::syncfs(File::open(built)?)?;
                fs::rename(built, &path)?;
            }
            File::open(&folder)?.sync_all()?;
            File::open(&self.shelf.dir)?.sync_all()
        };
        put().map_err(|source| ShelfError::Finish { path: path.clone(), source })?;
        Ok(Shelved { record, root: path.join("root") })
    }
}

/// What the folder of the stack with this digest is called.
fn folder_of(digest: &str) -> &str {
    digest.get(..DIGEST_LETTERS).unwrap_or(digest)
}

fn read(stack: &Path) -> Result<Shelved, ShelfError> {
    let path = stack.join(RECORD);
    let bytes =
        fs::read(&path).map_err(|source| ShelfError::Read { path: path.clone(), source })?;
    let record =
        serde_json::from_slice(&bytes).map_err(|source| ShelfError::Record { path, source })?;
    Ok(Shelved { record, root: stack.join("root") })
}

/// The folders in a folder; none when it does not exist.
fn folders(dir: &Path) -> Result<Vec<PathBuf>, ShelfError> {
    let failed = |source| ShelfError::Read { path: dir.to_path_buf(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(shelf: &Shelf, digest: &str) -> PathBuf {
        let stack = shelf.dir.join("lathe-12").join(folder_of(digest));
        fs::create_dir_all(stack.join("root")).unwrap();
        let record = Record {
            name: "lathe-12".into(),
            digest: digest.into(),
            recipe: "recipe".into(),
            base: None,
            suite: "bookworm".into(),
            built_at: 0,
            size_bytes: 1,
            packages: BTreeSet::new(),
        };
        fs::write(stack.join(RECORD), serde_json::to_vec(&record).unwrap()).unwrap();
        stack
    }

    #[test]
    fn a_stack_is_found_beside_one_that_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::at(dir.path());
        let [one, other, third] = ["1", "2", "3"].map(|letter| letter.repeat(64));
        let (kept, damaged) = (put(&shelf, &one), put(&shelf, &other));
        fs::write(damaged.join(RECORD), "{").unwrap();
        let root = shelf.find(&one).unwrap().map(|found| found.root);
        assert_eq!(root, Some(kept.join("root")));
        assert!(shelf.find(&other).is_err(), "it may be there");
        assert!(shelf.find(&third).unwrap().is_none());
        fs::remove_file(damaged.join(RECORD)).unwrap();
        assert!(shelf.find(&other).unwrap().is_none(), "it is being removed");
        assert!(shelf.find(&one).unwrap().is_some());
    }
}
