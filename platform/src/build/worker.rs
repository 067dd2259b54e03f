//! The program of a build dyno: the compiler between the pipes that its builder holds.

use crate::inherited;
use lathe_compiler::{Cancel, Job, Transcript, remove_tree, run_worker};
use nix::unistd::getuid;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The app's own disk: source and cache.
const DISK: &str = "/tmp";

#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("the builder's pipes are not there")]
    Pipes(#[source] io::Error),
    #[error("{DISK} is not a build's own disk")]
    NoDisk,
    #[error("{} could not be cleared of what the last build left", path.display())]
    Sweep {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Does one build and returns the exit code. To be run in a build dyno and nowhere else, before the
/// process opens anything.
pub fn main() -> u8 {
    let Job { cache_dir, fetched_dir, .. } = Job::default();
    let begun = begin(&[&cache_dir, &fetched_dir]);
    let mut out = Transcript::new(io::stdout());
    match begun {
        Ok((slug, outcome)) => run_worker(io::stdin(), out, slug, outcome, Cancel::default()),
        Err(error) => {
            out.error(&format!("The build dyno is not as it should be: {error}."));
            1
        }
    }
}

/// Takes the pipes and clears the disk: an interrupted build leaves its source, any build may leave
/// files about, and only what is `kept` is meant to last.
fn begin(kept: &[&Path]) -> Result<(File, File), WorkerError> {
    let [first, second] = inherited::take().map_err(WorkerError::Pipes)?;
    // Programs of the build run as the same user: they may not look into this process.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| WorkerError::Pipes(error.into()))?;
    check_disk()?;
    sweep(Path::new(DISK), kept)?;
    Ok((first, second))
}

/// In a build dyno the disk belongs to the app's user. Nowhere else may we clear it.
fn check_disk() -> Result<(), WorkerError> {
    let owner = fs::metadata(DISK).map_err(|_| WorkerError::NoDisk)?.uid();
    if getuid().is_root() || owner != getuid().as_raw() {
        return Err(WorkerError::NoDisk);
    }
    Ok(())
}

/// Removes everything below `dir` but what is `kept` and what leads there.
fn sweep(dir: &Path, kept: &[&Path]) -> Result<(), WorkerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WorkerError::Sweep { path, source }
    };
    for entry in fs::read_dir(dir).map_err(failed(dir))? {
        let entry = entry.map_err(failed(dir))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(failed(&path))?;
        // The file system's own folder of finds; it belongs to root.
        if kept.contains(&path.as_path()) || (path == Path::new(DISK).join("lost+found")) {
            continue;
        }
        if !kind.is_dir() {
            fs::remove_file(&path).map_err(failed(&path))?;
        } else if kept.iter().any(|kept| kept.starts_with(&path)) {
            sweep(&path, kept)?;
        } else {
            remove_tree(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
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
        let fetched = disk.path().join("codon/tmp/buildpacks");
        sweep(disk.path(), &[&cache, &fetched]).unwrap();
        let left = walkdir::WalkDir::new(disk.path()).into_iter().map(|entry| entry.unwrap());
        let left: Vec<_> = left.filter(|entry| entry.file_type().is_file()).collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].path(), cache.join("b/x"));
        assert!(!disk.path().join("build").exists() && !disk.path().join("link").exists());
    }

    #[test]
    fn nobody_elses_disk_is_cleared() {
        // Neither root nor a user who does not own it may clear it; tests are one of the two.
        assert!(matches!(check_disk(), Err(WorkerError::NoDisk)));
    }
}
