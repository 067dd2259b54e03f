//! The program of a build dyno: the compiler between the pipes that its builder holds.

use lathe_compiler::{Cancel, Job, Transcript, run_worker};
use nix::unistd::{close, getuid};
use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where the slug and the compiler's answer go.
const SLUG_FD: RawFd = 3;
const OUTCOME_FD: RawFd = 4;

/// The app's own disk: source and cache.
const DISK: &str = "/tmp";

#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("descriptor {fd} is not the builder's")]
    Descriptor { fd: RawFd, #[source] source: io::Error },
    #[error("{DISK} is not a build's own disk")]
    NoDisk,
    #[error("{} could not be cleared of what the last build left", path.display())]
    Sweep { path: PathBuf, #[source] source: io::Error },
}

/// Does one build and returns the exit code. To be run in a build dyno and nowhere else.
pub fn main() -> u8 {
    let begun = take(SLUG_FD).and_then(|slug| Ok((slug, take(OUTCOME_FD)?))).and_then(|pipes| {
        begin(&Job::default().cache_dir)?;
        Ok(pipes)
    });
    let mut out = Transcript::new(io::stdout());
    match begun {
        Ok((slug, outcome)) => run_worker(io::stdin(), out, slug, outcome, Cancel::default()),
        Err(error) => {
            out.error(&format!("The build dyno is not as it should be: {error}."));
            1
        }
    }
}

/// Our end of a builder's pipe. What a build runs must not have it: a program that stays behind
/// would keep it open, and one that writes to it could say that it has built something.
fn take(fd: RawFd) -> Result<File, WorkerError> {
    let failed = |source| WorkerError::Descriptor { fd, source };
    let file = File::options().write(true).open(format!("/proc/self/fd/{fd}")).map_err(failed)?;
    close(fd).map_err(|error| failed(error.into()))?;
    Ok(file)
}

/// An interrupted build leaves its source, and any build may leave files about: only the cache is
/// meant to last.
fn begin(cache: &Path) -> Result<(), WorkerError> {
    let owner = fs::metadata(DISK).map_err(|_| WorkerError::NoDisk)?.uid();
    // In a build dyno this disk belongs to the app's user. Nowhere else may we clear it.
    if getuid().is_root() || owner != getuid().as_raw() {
        return Err(WorkerError::NoDisk);
    }
    sweep(Path::new(DISK), cache)
}

/// Removes everything below `dir` but `keep` and what leads there.
fn sweep(dir: &Path, keep: &Path) -> Result<(), WorkerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WorkerError::Sweep { path, source }
    };
    for entry in fs::read_dir(dir).map_err(failed(dir))? {
        let entry = entry.map_err(failed(dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(failed(&path))?;
        // The file system's own folder of finds; it belongs to root.
        if path == keep || (path == Path::new(DISK).join("lost+found")) {
            continue;
        }
        if !kind.is_dir() {
            fs::remove_file(&path).map_err(failed(&path))?;
        } else if keep.starts_with(&path) {
            sweep(&path, keep)?;
        } else {
            remove_tree(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Build tools leave folders without write permission (Go's module cache does); a plain removal
/// stops at them.
fn remove_tree(path: &Path) -> io::Result<()> {
    open_up(path);
    fs::remove_dir_all(path)
}

/// Gives us every folder below; where that fails, the removal says why.
fn open_up(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).ok();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cache_lasts() {
        let disk = tempfile::tempdir().unwrap();
        let cache = disk.path().join("codon/tmp/cache");
        for dir in ["build/a", "codon/work", "codon/tmp/cache/b"] {
            fs::create_dir_all(disk.path().join(dir)).unwrap();
        }
        for file in ["x", "build/a/x", "codon/x", "codon/tmp/x", "codon/tmp/cache/b/x"] {
            fs::write(disk.path().join(file), b"x").unwrap();
        }
        std::os::unix::fs::symlink(&cache, disk.path().join("link")).unwrap();
        sweep(disk.path(), &cache).unwrap();
        let left = walkdir::WalkDir::new(disk.path()).into_iter().map(|entry| entry.unwrap());
        let left: Vec<_> = left.filter(|entry| entry.file_type().is_file()).collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].path(), cache.join("b/x"));
        assert!(!disk.path().join("build").exists() && !disk.path().join("link").exists());
    }

    #[test]
    fn nobody_elses_disk_is_cleared() {
        // Tests run as whoever; this disk is not a build's in any case when that is root.
        if getuid().is_root() {
            assert!(matches!(begin(Path::new("/nowhere")), Err(WorkerError::NoDisk)));
        }
    }
}
