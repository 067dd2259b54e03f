//! Archive to tree: slugs, source tarballs, buildpack tarballs.

use crate::archive::{Archive, ArchiveError, EntryKind, Layout};
use crate::gunzip::gunzip;
use crate::path::TreePath;
use crate::tree::Tree;
use crate::{SLUG_MTIME_SECONDS, UnpackLimits};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Who shall own what was unpacked; without one it belongs to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Of the tar, its headers and padding included.
    pub bytes: u64,
    /// Files, folders and links together.
    pub entries: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is at fault; nothing else is.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("could not create a folder beside {dest:?}")]
    Begin {
        dest: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not write {path:?}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not move the unpacked tree to {dest:?}")]
    Publish {
        dest: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Unpacks a gzip tar to `dest`, which must not exist or be an empty folder, and whose parent must
/// exist. All or nothing: the tree is written beside `dest` (as `.unpack-…`) and renamed.
///
/// Modes become 644, 755 for programs and folders. A slug's files keep the times of the archive; other
/// trees get the time of unpacking, because cargo and make take old sources for built ones.
/// With [`Layout::Slug`] the tree is `dest/app`, and `dest` itself stays the process's own.
///
/// The tree is not synced to disk: a cache of unpacked slugs must not outlive a restart of the machine.
pub fn unpack(
    gz: impl Read,
    dest: &Path,
    layout: Layout,
    limits: &UnpackLimits,
    owner: Option<Owner>,
) -> Result<Unpacked, UnpackError> {
    gunzip(gz, limits.compressed_bytes_max, |tar| extract(tar, dest, layout, limits, owner))
}

/// [`unpack`] for a tar that is not compressed.
pub fn unpack_tar(
    tar: impl Read,
    dest: &Path,
    layout: Layout,
    limits: &UnpackLimits,
    owner: Option<Owner>,
) -> Result<Unpacked, UnpackError> {
    extract(BufReader::with_capacity(256 << 10, tar), dest, layout, limits, owner)
}

fn extract(
    tar: impl BufRead,
    dest: &Path,
    layout: Layout,
    limits: &UnpackLimits,
    owner: Option<Owner>,
) -> Result<Unpacked, UnpackError> {
    let begin = |source| UnpackError::Begin { dest: dest.to_path_buf(), source };
    let beside = dest.parent().filter(|parent| !parent.as_os_str().is_empty());
    let temp = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(beside.unwrap_or(Path::new(".")))
        .map_err(begin)?;
    let mtime = (layout == Layout::Slug).then_some(SLUG_MTIME_SECONDS);
    let mut tree = Tree::open(temp.path(), owner, mtime).map_err(begin)?;

    let mut archive = Archive::new(tar, layout, limits);
    if layout == Layout::Slug {
        let app = TreePath::parse(b"app", limits);
        let app = app.map_err(|fault| ArchiveError::Path { path: "app".into(), fault })?;
        tree.folder(&app).map_err(begin)?;
    }
    while let Some(entry) = archive.next()? {
        let failed = |source| UnpackError::Write { path: entry.path.to_path_buf(), source };
        match &entry.kind {
            EntryKind::Folder => tree.folder(&entry.path),
            EntryKind::Symlink { target } => tree.symlink(&entry.path, target),
            EntryKind::HardLink { target } => tree.hard_link(&entry.path, target),
            EntryKind::File { executable, mtime } => {
                let mut file = tree.file(&entry.path).map_err(failed)?;
                archive.data(|piece| file.write_all(piece).map_err(failed))?;
                tree.settle(&file, *executable, *mtime)
            }
        }
        .map_err(failed)?;
    }
    tree.finish().and_then(|()| tree.settle_root(layout != Layout::Slug)).map_err(begin)?;
    publish(temp, dest)?;
    Ok(Unpacked { bytes: archive.bytes(), entries: archive.entries() })
}

fn publish(temp: TempDir, dest: &Path) -> Result<(), UnpackError> {
    fs::rename(temp.path(), dest)
        .map_err(|source| UnpackError::Publish { dest: dest.to_path_buf(), source })?;
    // Renamed: there is nothing left to remove.
    drop(temp.keep());
    Ok(())
}
