//! What makes an acknowledged push survive a power cut.
//!
//! Git writes a ref or a pack to a temporary file, syncs it (`core.fsync=all`) and renames it, but
//! never syncs the directories: the rename itself can be lost. Measured: the last acknowledged push
//! was lost in 12 of 12 power cuts, and in none once these directories are synced as well. Syncing
//! the whole file system would do too, but then a push would wait for every running build's output.

use std::fs::File;
use std::io;
use std::path::Path;

/// Syncs every directory in which git has renamed something for `names`.
pub(super) fn sync_push(repo: &Path, names: &[String]) -> io::Result<()> {
    let objects = repo.join("objects");
    sync(&objects.join("pack"))?;
    for entry in std::fs::read_dir(&objects)? {
        let entry = entry?;
        // Loose objects exist where a repository was filled by other means.
        if entry.file_name().len() == 2 && entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        }
    }
    sync(&objects)?;
    for name in names {
        let path = repo.join(name);
        for dir in path.ancestors().skip(1).take_while(|dir| dir.starts_with(repo)) {
            // A deleted ref takes its empty directories along.
            if dir.is_dir() {
                sync(dir)?;
            }
        }
    }
    // `packed-refs` is renamed here when a ref is deleted.
    sync(repo)
}

/// Syncs a small tree that was just made: every file and every directory.
pub(super) fn sync_tree(root: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(root).contents_first(true) {
        sync(entry.map_err(io::Error::from)?.path())?;
    }
    Ok(())
}

pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
