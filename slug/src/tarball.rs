//! Writes the tar of a slug: every header field but name, size and mode is a constant.

use crate::SLUG_MTIME_SECONDS;
use crate::archive::BLOCK;
use crate::path::TreePath;
use std::io::{self, Read, Write};
use tar::{EntryType, Header};

/// Bytes of the name and link fields of a header; longer ones go into an entry before it.
const NAME_BYTES: usize = 100;

/// Names go out byte by byte: the tar crate's own writer would drop the leading `./`, which Heroku's
/// slug format asks for.
pub(crate) struct Tarball<W> {
    out: W,
}

impl<W: Write> Tarball<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    pub(crate) fn folder(&mut self, path: &TreePath) -> io::Result<()> {
        let name = [b"./", path.as_bytes(), b"/"].concat();
        self.header(EntryType::Directory, &name, None, 0o755, 0)
    }

    pub(crate) fn symlink(&mut self, path: &TreePath, target: &[u8]) -> io::Result<()> {
        self.header(EntryType::Symlink, &entry_name(path), Some(target), 0o777, 0)
    }

    pub(crate) fn hard_link(
        &mut self,
        path: &TreePath,
        target: &TreePath,
        executable: bool,
    ) -> io::Result<()> {
        let (name, target) = (entry_name(path), entry_name(target));
        self.header(EntryType::Link, &name, Some(&target), file_mode(executable), 0)
    }

    /// Writes exactly `size` bytes of `data`; fewer are an [`io::ErrorKind::UnexpectedEof`].
    pub(crate) fn file(
        &mut self,
        path: &TreePath,
        executable: bool,
        size: u64,
        data: impl Read,
    ) -> io::Result<()> {
        self.header(EntryType::Regular, &entry_name(path), None, file_mode(executable), size)?;
        if io::copy(&mut data.take(size), &mut self.out)? < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pad(size)
    }

    /// Writes the end mark, two empty blocks.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn header(
        &mut self,
        kind: EntryType,
        name: &[u8],
        target: Option<&[u8]>,
        mode: u32,
        size: u64,
    ) -> io::Result<()> {
        let target = target.unwrap_or_default();
        if target.len() > NAME_BYTES {
            self.long(EntryType::GNULongLink, target)?;
        }
        if name.len() > NAME_BYTES {
            self.long(EntryType::GNULongName, name)?;
        }
        self.out.write_all(header(kind, name, target, mode, size).as_bytes())
    }

    /// GNU tar's way to hold what does not fit: an entry whose data is the name and a NUL.
    fn long(&mut self, kind: EntryType, name: &[u8]) -> io::Result<()> {
        let size = name.len() as u64 + 1;
        self.out.write_all(header(kind, b"././@LongLink", b"", 0o644, size).as_bytes())?;
        self.out.write_all(name)?;
        self.out.write_all(&[0])?;
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let missing = size.next_multiple_of(BLOCK as u64) - size;
        io::copy(&mut io::repeat(0).take(missing), &mut self.out).map(drop)
    }
}

fn header(kind: EntryType, name: &[u8], target: &[u8], mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    let fields = header.as_old_mut();
    let (name, target) =
        (&name[..name.len().min(NAME_BYTES)], &target[..target.len().min(NAME_BYTES)]);
    fields.name[..name.len()].copy_from_slice(name);
    fields.linkname[..target.len()].copy_from_slice(target);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(SLUG_MTIME_SECONDS);
    header.set_size(size);
    header.set_cksum();
    header
}

fn entry_name(path: &TreePath) -> Vec<u8> {
    [b"./", path.as_bytes()].concat()
}

fn file_mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}
