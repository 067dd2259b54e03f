//! Writes a tree through directory descriptors: nothing outside it can be reached, whatever the names.

use crate::path::TreePath;
use crate::unpack::Owner;
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod,
    fchown, futimens, linkat, mkdirat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

/// The folders from the root to where the last entry went stay open, so that entries in archive order
/// cost one `openat` each, and every name is resolved exactly once, by us, never through a link.
pub(crate) struct Tree {
    root: OwnedFd,
    owner: Option<(Uid, Gid)>,
    /// Seconds since 1970 for folders and links; `None` leaves the time of writing.
    mtime: Option<u64>,
    open: Vec<(Vec<u8>, OwnedFd)>,
}

impl Tree {
    pub(crate) fn open(root: &Path, owner: Option<Owner>, mtime: Option<u64>) -> io::Result<Self> {
        let root = openat(CWD, root, folder_flags(), Mode::empty())?;
        let owner = owner.map(|owner| (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid)));
        Ok(Self { root, owner, mtime, open: Vec::new() })
    }

    /// Gives the root itself its mode, and the owner if `owned`.
    pub(crate) fn settle_root(&self, owned: bool) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner.filter(|_| owned) {
            fchown(&self.root, Some(uid), Some(gid))?;
        }
        Ok(fchmod(&self.root, FOLDER_MODE)?)
    }

    pub(crate) fn folder(&mut self, path: &TreePath) -> io::Result<()> {
        self.enter(path.names())
    }

    /// A new, empty, writable file; [`Tree::settle`] it once it is written.
    pub(crate) fn file(&mut self, path: &TreePath) -> io::Result<File> {
        let (folder, name) = self.parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
        Ok(openat(folder, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))?.into())
    }

    /// Gives a written file its owner, mode and time.
    pub(crate) fn settle(&self, file: &File, executable: bool, mtime: u64) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner {
            fchown(file, Some(uid), Some(gid))?;
        }
        fchmod(file, Mode::from_raw_mode(if executable { 0o755 } else { 0o644 }))?;
        if self.mtime.is_some() {
            futimens(file, &modified(mtime))?;
        }
        Ok(())
    }

    pub(crate) fn symlink(&mut self, path: &TreePath, target: &[u8]) -> io::Result<()> {
        let (owner, mtime) = (self.owner, self.mtime);
        let (folder, name) = self.parent(path)?;
        symlinkat(target, folder, name)?;
        if let Some((uid, gid)) = owner {
            chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(mtime) = mtime {
            utimensat(folder, name, &modified(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    pub(crate) fn hard_link(&mut self, path: &TreePath, target: &TreePath) -> io::Result<()> {
        let (source, source_name) = {
            let (folder, name) = self.parent(target)?;
            (folder.try_clone()?, name)
        };
        let (folder, name) = self.parent(path)?;
        // Without AT_SYMLINK_FOLLOW, a link put in the file's place would itself be linked, not followed.
        Ok(linkat(source, source_name, folder, name, AtFlags::empty())?)
    }

    /// Closes what is open, as times change with every entry written into a folder.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.leave(0)
    }

    fn parent<'p>(&mut self, path: &'p TreePath) -> io::Result<(&OwnedFd, &'p Path)> {
        let (folder, name) = path.split_last().ok_or(Errno::EXIST)?;
        self.enter(folder)?;
        Ok((self.here(), as_path(name)))
    }

    fn here(&self) -> &OwnedFd {
        self.open.last().map_or(&self.root, |(_, fd)| fd)
    }

    /// Makes `names` the open folders, creating what is not there.
    fn enter<'p>(&mut self, names: impl Iterator<Item = &'p [u8]>) -> io::Result<()> {
        let mut depth = 0;
        for name in names {
            if self.open.get(depth).is_none_or(|(open, _)| open != name) {
                self.leave(depth)?;
                let fd = self.folder_in(name)?;
                self.open.push((name.to_vec(), fd));
            }
            depth += 1;
        }
        self.leave(depth)
    }

    fn leave(&mut self, depth: usize) -> io::Result<()> {
        while self.open.len() > depth {
            if let (Some((_, fd)), Some(mtime)) = (self.open.pop(), self.mtime) {
                futimens(fd, &modified(mtime))?;
            }
        }
        Ok(())
    }

    fn folder_in(&self, name: &[u8]) -> io::Result<OwnedFd> {
        let (here, name) = (self.here(), as_path(name));
        match mkdirat(here, name, FOLDER_MODE) {
            Ok(()) => {
                let fd = openat(here, name, folder_flags(), Mode::empty())?;
                if let Some((uid, gid)) = self.owner {
                    fchown(&fd, Some(uid), Some(gid))?;
                }
                fchmod(&fd, FOLDER_MODE)?;
                Ok(fd)
            }
            Err(Errno::EXIST) => Ok(openat(here, name, folder_flags(), Mode::empty())?),
            Err(error) => Err(error.into()),
        }
    }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn as_path(name: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(name))
}

fn modified(seconds: u64) -> Timestamps {
    // Beyond what file systems hold, the value is wrong anyway and must only not fail.
    let tv_sec = i64::from(u32::try_from(seconds).unwrap_or(u32::MAX));
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec: 0 },
    }
}
