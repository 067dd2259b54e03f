//! Tree to slug: the same tree gives the same bytes, and no link leads out of it.

use crate::archive::BLOCK;
use crate::bounded::{Bounded, Overflow};
use crate::members::Members;
use crate::path::{PathFault, TreePath, check_target, check_whiteout};
use crate::tarball::Tarball;
use crate::{DiffId, Exceeded, Ignore, Limit, Manifest, PackLimits, SlugId};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat,
};
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("could not read {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not write the slug")]
    Write(#[source] io::Error),
    #[error("{path:?} changed while it was packed; something still writes to the app")]
    Changed { path: PathBuf },
    #[error("{path:?} cannot be in a slug; rename it or list it in .slugignore")]
    Path {
        path: PathBuf,
        #[source]
        fault: PathFault,
    },
    #[error("{path:?} is a {kind}, which cannot be in a slug; remove it or list it in .slugignore")]
    Kind { path: PathBuf, kind: &'static str },
    #[error("the app does not fit into a slug; list what it does not need in .slugignore")]
    Limit(#[source] Exceeded),
}

/// Packs the folder `dir`, less what `ignore` names, as `./app/` into `out`.
///
/// Entries are sorted, of one time, owned by 0:0, of mode 644 or 755. Hard links within the tree stay
/// links to the first of their names; symbolic links are stored as they are; devices, sockets and named
/// pipes are refused. What changes meanwhile is noticed or packed as it was seen, and nothing outside
/// `dir` is ever opened.
pub fn pack(
    dir: &Path,
    ignore: &Ignore,
    limits: &PackLimits,
    out: impl Write,
) -> Result<Manifest, PackError> {
    let read = |source: rustix::io::Errno| PackError::Read {
        path: dir.to_path_buf(),
        source: source.into(),
    };
    let root = openat(CWD, dir, FOLDER, Mode::empty()).map_err(read)?;
    let app = TreePath::default()
        .child(b"app", limits)
        .map_err(|fault| PackError::Path { path: PathBuf::from("app"), fault })?;
    thread::scope(|scope| {
        let members = Members::start(scope, Overflow::new(out, limits.compressed_bytes_max));
        let tar = Tarball::new(Bounded::new(members, limits.unpacked_bytes_max));
        let mut packer =
            Packer { ignore, limits, tar, entries: 0, bytes: 0, names: HashMap::new() };
        packer.folder(&root, &app)?;

        let entries = packer.entries;
        let tar = packer.tar.finish().map_err(write_error)?.inner;
        let (diff_id, unpacked_bytes) = (DiffId::from_digest(tar.digest()), tar.length());
        let gzip = tar.into_inner().finish().map_err(write_error)?.checked();
        let gzip = gzip.map_err(PackError::Limit)?;
        let (id, bytes) = (SlugId::from_digest(gzip.digest()), gzip.length());
        Ok(Manifest { id, diff_id, bytes, unpacked_bytes, entries })
    })
}

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Without blocking, in case a named pipe took the file's place.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Packer<'a, W> {
    ignore: &'a Ignore,
    limits: &'a PackLimits,
    tar: Tarball<W>,
    entries: u64,
    /// Of files, with their headers and padding: to refuse a large one before it is read.
    bytes: u64,
    /// Device and inode of files with several names, and the first name of each.
    names: HashMap<(u64, u64), TreePath>,
}

impl<W: Write> Packer<'_, W> {
    /// `path` as in the slug, so it begins with `app`. Recursion ends at the depth limit of paths.
    fn folder(&mut self, folder: &OwnedFd, path: &TreePath) -> Result<(), PackError> {
        self.count()?;
        self.tar.folder(path).map_err(write_error)?;
        for (name, kind) in self.list(folder, path)? {
            let path = self.child(path, name.as_bytes())?;
            match kind {
                FileType::RegularFile => self.file(folder, &name, &path)?,
                FileType::Symlink => self.symlink(folder, &name, &path)?,
                FileType::Directory => {
                    let inner = openat(folder, &name, FOLDER, Mode::empty())
                        .map_err(|error| changed_or_unreadable(error, &path))?;
                    self.folder(&inner, &path)?;
                }
                other => return Err(kind_error(other, &path)),
            }
        }
        Ok(())
    }

    /// What is in the folder and not ignored, sorted by the bytes of its name.
    fn list(
        &self,
        folder: &OwnedFd,
        path: &TreePath,
    ) -> Result<Vec<(CString, FileType)>, PackError> {
        let read = |source: rustix::io::Errno| PackError::Read {
            path: below_app(path),
            source: source.into(),
        };
        let left = usize::try_from(self.limits.entries_max - self.entries).unwrap_or(usize::MAX);
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system tells in the listing.
                FileType::Unknown => {
                    kind_of(&statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(read)?)
                }
                kind => kind,
            };
            let relative = below_app(path).join(as_path(name.to_bytes()));
            if self.ignore.matches(&relative, kind == FileType::Directory) {
                continue;
            }
            if names.len() == left {
                return Err(self.too_many());
            }
            names.push((name.to_owned(), kind));
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }

    fn file(&mut self, folder: &OwnedFd, name: &CString, path: &TreePath) -> Result<(), PackError> {
        let file = openat(folder, name, FILE, Mode::empty())
            .map_err(|error| changed_or_unreadable(error, path))?;
        let stat = fstat(&file).map_err(|error| changed_or_unreadable(error, path))?;
        if kind_of(&stat) != FileType::RegularFile {
            return Err(PackError::Changed { path: below_app(path) });
        }
        self.count()?;
        let executable = stat.st_mode & 0o100 != 0;
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.names.get(&inode) {
                let linked = self.tar.hard_link(path, first, executable);
                return linked.map_err(write_error);
            }
            self.names.insert(inode, path.clone());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let weight = size.saturating_add(BLOCK as u64).checked_next_multiple_of(BLOCK as u64);
        self.bytes = self.bytes.saturating_add(weight.unwrap_or(u64::MAX));
        let within = Limit::Unpacked.check(self.bytes, self.limits.unpacked_bytes_max);
        within.map_err(PackError::Limit)?;
        let mut source = Source { file: File::from(file), failed: false };
        self.tar.file(path, executable, size, &mut source).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => PackError::Changed { path: below_app(path) },
            _ if source.failed => PackError::Read { path: below_app(path), source: error },
            _ => write_error(error),
        })
    }

    fn symlink(
        &mut self,
        folder: &OwnedFd,
        name: &CString,
        path: &TreePath,
    ) -> Result<(), PackError> {
        let target = readlinkat(folder, name, Vec::new())
            .map_err(|error| changed_or_unreadable(error, path))?;
        let target = target.as_bytes();
        check_target(target, self.limits)
            .map_err(|fault| PackError::Path { path: below_app(path), fault })?;
        self.count()?;
        self.tar.symlink(path, target).map_err(write_error)
    }

    fn child(&self, folder: &TreePath, name: &[u8]) -> Result<TreePath, PackError> {
        let path = folder.clone().child(name, self.limits);
        let path = path.and_then(|path| check_whiteout(&path).map(|()| path));
        path.map_err(|fault| PackError::Path { path: below_app(folder).join(as_path(name)), fault })
    }

    fn count(&mut self) -> Result<(), PackError> {
        if self.entries == self.limits.entries_max {
            return Err(self.too_many());
        }
        self.entries += 1;
        Ok(())
    }

    fn too_many(&self) -> PackError {
        let max = self.limits.entries_max;
        PackError::Limit(Exceeded { limit: Limit::Entries, found: max + 1, max })
    }
}

/// Tells a failed read from a failed write, which `io::copy` reports alike.
struct Source {
    file: File,
    failed: bool,
}

impl io::Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.file.read(out).inspect_err(|_| self.failed = true)
    }
}

fn write_error(error: io::Error) -> PackError {
    error.downcast().map_or_else(PackError::Write, PackError::Limit)
}

/// What is gone, or is a link or no folder any more, was something else when it was listed.
fn changed_or_unreadable(error: rustix::io::Errno, path: &TreePath) -> PackError {
    use rustix::io::Errno;
    let path = below_app(path);
    match error {
        Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::INVAL | Errno::NXIO => {
            PackError::Changed { path }
        }
        error => PackError::Read { path, source: error.into() },
    }
}

fn kind_error(kind: FileType, path: &TreePath) -> PackError {
    let kind = match kind {
        FileType::Fifo => "named pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        _ => "thing of an unknown type",
    };
    PackError::Kind { path: below_app(path), kind }
}

fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The path as the app's owner knows it.
fn below_app(path: &TreePath) -> PathBuf {
    path.split_first().map_or_else(PathBuf::new, |(_, below)| below.to_path_buf())
}

fn as_path(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name))
}
