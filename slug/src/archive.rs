//! Reads a tar that nobody vouches for: every name and number is checked before it is used.

use crate::path::{PathFault, TreePath, check_target, check_whiteout};
use crate::seen::{Clash, Place, Seen};
use crate::{Exceeded, Limit, Limits};
use std::ffi::OsStr;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use tar::{EntryType, Header, PaxExtensions};

/// Bytes of a tar block: headers are one block, data is padded to whole ones (POSIX ustar).
pub(crate) const BLOCK: usize = 512;

/// Longest part of a refused name that is worth showing.
const SHOWN_BYTES_MAX: usize = 160;

/// Where an archive's entries may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Everything under `./app/`, named with the `./`.
    Slug,
    /// Any relative path.
    Tree,
    /// As `Tree`, less the one folder that repository hosts put around everything.
    Stripped,
}

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("could not read the archive")]
    Read(#[source] io::Error),
    #[error("the archive ends in the middle")]
    Truncated,
    #[error("the archive goes on after its end mark")]
    Trailing,
    #[error("the archive has a damaged header at byte {offset}")]
    Header { offset: u64 },
    #[error("the archive is too large")]
    Limit(#[source] Exceeded),
    #[error("path {path:?} is not allowed")]
    Path {
        path: PathBuf,
        #[source]
        fault: PathFault,
    },
    #[error("what {path:?} links to is not allowed")]
    Target {
        path: PathBuf,
        #[source]
        fault: PathFault,
    },
    #[error("{path:?} is a {kind}; only files, folders and links are allowed")]
    Kind { path: PathBuf, kind: &'static str },
    #[error("{path:?} is no file but claims to hold {bytes} bytes")]
    Weight { path: PathBuf, bytes: u64 },
    #[error("{path:?} is in the archive twice")]
    Twice { path: PathBuf },
    #[error("{path:?} lies below something that is not a folder")]
    Below { path: PathBuf },
    #[error("{path:?} is a hard link to {target:?}, which is no earlier file of the archive")]
    HardLink { path: PathBuf, target: PathBuf },
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: TreePath,
    pub(crate) kind: EntryKind,
}

#[derive(Debug)]
pub(crate) enum EntryKind {
    /// `mtime` in seconds since 1970; the content is to be had from [`Archive::data`].
    File {
        executable: bool,
        mtime: u64,
    },
    Folder,
    Symlink {
        target: Vec<u8>,
    },
    /// To a file that came earlier.
    HardLink {
        target: TreePath,
    },
}

/// What earlier headers said about the next entry (GNU `L` and `K`, POSIX `x`).
#[derive(Default)]
struct Pending {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// Yields entries in order. The verdict needs no file system: what passes here can be unpacked.
pub(crate) struct Archive<R> {
    reader: R,
    layout: Layout,
    limits: Limits,
    /// Bytes of the tar consumed.
    offset: u64,
    /// Bytes of the current entry's data, and of its padding, still to come.
    data: u64,
    padding: u64,
    top: Option<Vec<u8>>,
    seen: Seen,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(reader: R, layout: Layout, limits: &Limits) -> Self {
        let (limits, seen) = (*limits, Seen::default());
        Self { reader, layout, limits, offset: 0, data: 0, padding: 0, top: None, seen }
    }

    /// Bytes of the tar read so far; its length once `next` has said `None`.
    pub(crate) fn bytes(&self) -> u64 {
        self.offset
    }

    /// Files, links and folders so far, implied folders included.
    pub(crate) fn entries(&self) -> u64 {
        self.seen.count()
    }

    /// The next entry; `None` after the end mark, once the stream behind it was read to its end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.skip_rest()?;
        let mut pending = Pending::default();
        loop {
            let at = self.offset;
            let block = self.block()?;
            if block == [0; BLOCK] {
                self.read_to_end()?;
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            let size = check_header(header, &block).ok_or(ArchiveError::Header { offset: at })?;
            match header.entry_type() {
                EntryType::GNULongName => pending.path = Some(until_nul(self.extension(size)?)),
                EntryType::GNULongLink => pending.target = Some(until_nul(self.extension(size)?)),
                EntryType::XHeader => {
                    let records = self.extension(size)?;
                    read_pax(&records, &mut pending).ok_or(ArchiveError::Header { offset: at })?;
                }
                EntryType::XGlobalHeader => drop(self.extension(size)?),
                _ => {
                    if let Some(entry) = self.entry(header, size, pending)? {
                        return Ok(Some(entry));
                    }
                    self.skip_rest()?;
                    pending = Pending::default();
                }
            }
        }
    }

    /// Hands the current file's bytes to `sink`, piece by piece.
    pub(crate) fn data<E: From<ArchiveError>>(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.data > 0 {
            let buffered = self.reader.fill_buf().map_err(read_error)?;
            let n = buffered.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
            if n == 0 {
                return Err(ArchiveError::Truncated.into());
            }
            sink(&buffered[..n])?;
            self.reader.consume(n);
            self.offset += n as u64;
            self.data -= n as u64;
        }
        Ok(())
    }

    /// Makes an entry of a header; `None` for the folder around everything, which the caller has.
    fn entry(
        &mut self,
        header: &Header,
        size: u64,
        pending: Pending,
    ) -> Result<Option<Entry>, ArchiveError> {
        let raw = pending.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let size = pending.size.unwrap_or(size);
        let file_type = if pending.sparse { EntryType::GNUSparse } else { header.entry_type() };
        let folder =
            file_type == EntryType::Directory || file_type.is_file() && raw.ends_with(b"/");
        if size > 0 && (folder || file_type != EntryType::GNUSparse && !file_type.is_file()) {
            return Err(ArchiveError::Weight { path: shown(&raw), bytes: size });
        }
        self.expect(size)?;

        let fault = |fault| ArchiveError::Path { path: shown(&raw), fault };
        let path = self.place(&raw).map_err(fault)?;
        let target = pending.target.or_else(|| header.link_name_bytes().map(Into::into));
        let kind = match file_type {
            _ if folder => EntryKind::Folder,
            EntryType::Regular => EntryKind::File {
                executable: header.mode().unwrap_or(0) & 0o100 != 0,
                mtime: header.mtime().unwrap_or(0),
            },
            EntryType::Symlink => {
                let target = target.unwrap_or_default();
                check_target(&target, &self.limits)
                    .map_err(|fault| ArchiveError::Target { path: shown(&raw), fault })?;
                EntryKind::Symlink { target }
            }
            EntryType::Link => self.hard_link(&raw, &target.unwrap_or_default())?,
            other => {
                return Err(ArchiveError::Kind { path: shown(&raw), kind: kind_name(other) });
            }
        };
        if path.is_root() {
            return if folder { Ok(None) } else { Err(fault(PathFault::Empty)) };
        }
        if self.layout == Layout::Slug && path.as_bytes() == b"app" && !folder {
            return Err(fault(PathFault::OutsideApp));
        }
        self.admit(&path, &kind, &raw)?;
        self.data = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(Some(Entry { path, kind }))
    }

    fn hard_link(&mut self, raw: &[u8], target: &[u8]) -> Result<EntryKind, ArchiveError> {
        let place = self.place(target);
        let target_path =
            place.map_err(|fault| ArchiveError::Target { path: shown(raw), fault })?;
        if !self.seen.is_file(&target_path) {
            return Err(ArchiveError::HardLink { path: shown(raw), target: shown(target) });
        }
        Ok(EntryKind::HardLink { target: target_path })
    }

    fn admit(&mut self, path: &TreePath, kind: &EntryKind, raw: &[u8]) -> Result<(), ArchiveError> {
        let place = match kind {
            EntryKind::File { .. } | EntryKind::HardLink { .. } => Place::File,
            EntryKind::Folder => Place::Folder,
            EntryKind::Symlink { .. } => Place::Link,
        };
        let max = self.limits.entries_max;
        self.seen.admit(path, place, max).map_err(|clash| match clash {
            Clash::Twice => ArchiveError::Twice { path: shown(raw) },
            Clash::Below => ArchiveError::Below { path: shown(raw) },
            Clash::TooMany(exceeded) => ArchiveError::Limit(exceeded),
        })
    }

    /// The path an archive's name has in the tree.
    fn place(&mut self, raw: &[u8]) -> Result<TreePath, PathFault> {
        let path = TreePath::parse(raw, &self.limits)?;
        match self.layout {
            Layout::Tree => Ok(path),
            Layout::Slug => {
                let inside = raw
                    .strip_prefix(b"./app")
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
                if !inside && !path.is_root() {
                    return Err(PathFault::OutsideApp);
                }
                check_whiteout(&path)?;
                Ok(path)
            }
            Layout::Stripped => {
                let Some((first, rest)) = path.split_first() else { return Ok(path) };
                if self.top.get_or_insert_with(|| first.to_vec()) != first {
                    return Err(PathFault::SecondTop);
                }
                Ok(rest)
            }
        }
    }

    /// The data of a header that describes the next entry.
    fn extension(&mut self, bytes: u64) -> Result<Vec<u8>, ArchiveError> {
        let within = Limit::Header.check(bytes, self.limits.extension_bytes_max);
        within.map_err(ArchiveError::Limit)?;
        self.expect(bytes)?;
        self.data = bytes;
        self.padding = bytes.next_multiple_of(BLOCK as u64) - bytes;
        let mut held = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        self.data(|piece| {
            held.extend_from_slice(piece);
            Ok::<_, ArchiveError>(())
        })?;
        self.skip_rest()?;
        Ok(held)
    }

    /// Refuses `bytes` more before a single one of them is read.
    fn expect(&self, bytes: u64) -> Result<(), ArchiveError> {
        let end = self.offset.saturating_add(bytes);
        Limit::Unpacked.check(end, self.limits.unpacked_bytes_max).map_err(ArchiveError::Limit)
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        self.data += std::mem::take(&mut self.padding);
        self.expect(self.data)?;
        self.data(|_| Ok(()))
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ArchiveError> {
        self.expect(BLOCK as u64)?;
        let mut block = [0; BLOCK];
        self.reader.read_exact(&mut block).map_err(read_error)?;
        self.offset += BLOCK as u64;
        Ok(block)
    }

    /// Writers pad the end with zero blocks. Reading on to the very end also has the last checksum of
    /// the gzip stream checked, and leaves no place to hide a second archive behind the first.
    fn read_to_end(&mut self) -> Result<(), ArchiveError> {
        loop {
            let rest = self.reader.fill_buf().map_err(read_error)?;
            if rest.is_empty() {
                return Ok(());
            }
            // One more than there may be says enough, however much there is at once.
            let room = self.limits.unpacked_bytes_max.saturating_sub(self.offset);
            let n = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX).saturating_add(1));
            if rest[..n].iter().any(|byte| *byte != 0) {
                return Err(ArchiveError::Trailing);
            }
            self.reader.consume(n);
            self.offset += n as u64;
            self.expect(0)?;
        }
    }
}

/// A gzip stream that was cut short fails in this way too; one that is too long brings its reason.
fn read_error(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
        _ => error.downcast().map_or_else(ArchiveError::Read, ArchiveError::Limit),
    }
}

/// The size a header gives, if its checksum holds (POSIX ustar: the sum of all bytes, the checksum
/// field itself read as spaces).
fn check_header(header: &Header, block: &[u8; BLOCK]) -> Option<u64> {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let bytes = block.iter().enumerate();
    let sum: u32 =
        bytes.map(|(at, byte)| if CHECKSUM.contains(&at) { 32 } else { u32::from(*byte) }).sum();
    (header.cksum().ok()? == sum).then_some(())?;
    header.entry_size().ok()
}

fn read_pax(records: &[u8], pending: &mut Pending) -> Option<()> {
    for record in PaxExtensions::new(records) {
        let record = record.ok()?;
        let value = record.value_bytes();
        match record.key_bytes() {
            b"path" => pending.path = Some(value.to_vec()),
            b"linkpath" => pending.target = Some(value.to_vec()),
            b"size" => pending.size = Some(record.value().ok()?.parse().ok()?),
            // A sparse file's data is not its content; to store it as if it were would corrupt it.
            key if key.starts_with(b"GNU.sparse.") => pending.sparse = true,
            _ => {}
        }
    }
    Some(())
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn shown(raw: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&raw[..raw.len().min(SHOWN_BYTES_MAX)]))
}

fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char => "character device",
        EntryType::Block => "block device",
        EntryType::Fifo => "named pipe",
        EntryType::GNUSparse => "sparse file",
        _ => "thing of an unknown type",
    }
}
