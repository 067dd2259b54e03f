//! Where two slugs differ: not a hex dump, but the entries and what is different about each.

use crate::Limits;
use crate::archive::{Archive, ArchiveError, Entry, EntryKind, Layout};
use crate::gunzip::gunzip;
use crate::path::TreePath;
use crate::tally::Tally;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Contents are compared by the digests of blocks, so that no slug needs to fit into memory.
const BLOCK_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// As in the slug, below `./`; empty where no single entry differs.
    pub path: PathBuf,
    pub kind: DifferenceKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    OnlyLeft,
    OnlyRight,
    /// One is a file and the other a link, say.
    Type {
        left: &'static str,
        right: &'static str,
    },
    /// Only one is a program.
    Mode {
        left: u32,
        right: u32,
    },
    /// The links point to different places.
    Link {
        left: PathBuf,
        right: PathBuf,
    },
    /// The first byte that differs, counted from 0, and both sizes.
    Content {
        at: u64,
        left_bytes: u64,
        right_bytes: u64,
    },
    /// The same entries, but this one comes at another place.
    Order,
    /// The same entries, of other times or owners or otherwise written.
    Headers,
    /// The same tar, otherwise compressed.
    Compression,
}

#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error("could not open {path:?}")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not compare {path:?}")]
    Archive {
        path: PathBuf,
        #[source]
        source: ArchiveError,
    },
}

/// The first differences of two slugs, at most `max`, in the order of the slugs; none for equal bytes.
pub fn diff(
    left: &Path,
    right: &Path,
    limits: &Limits,
    max: usize,
) -> Result<Vec<Difference>, DiffError> {
    let (one, two) = (Index::read(left, limits)?, Index::read(right, limits)?);
    let mut differences = compare(&one, &two);
    differences.truncate(max);
    for Difference { path, kind } in &mut differences {
        if let DifferenceKind::Content { at, .. } = kind {
            let block = *at;
            let ours = read_block(left, path, block, limits)?;
            let theirs = read_block(right, path, block, limits)?;
            let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
            *at = block * BLOCK_BYTES as u64 + same as u64;
        }
    }
    Ok(differences)
}

/// What is compared of one slug.
struct Index {
    items: Vec<Item>,
    /// Of the tar, headers and all.
    tar: [u8; 32],
    /// Of the compressed bytes.
    gzip: [u8; 32],
}

struct Item {
    entry: Entry,
    content: Content,
}

struct Content {
    bytes: u64,
    blocks: Vec<[u8; 32]>,
}

impl Index {
    fn read(slug: &Path, limits: &Limits) -> Result<Self, DiffError> {
        let mut gzip = Tally::new(open(slug)?);
        let read = gunzip(&mut gzip, limits.compressed_bytes_max, |tar| {
            let mut tar = Tally::new(tar);
            let reader = BufReader::with_capacity(BLOCK_BYTES, &mut tar);
            let mut archive = Archive::new(reader, Layout::Slug, limits);
            let mut items = Vec::new();
            while let Some(entry) = archive.next()? {
                let content = Content::read(&mut archive)?;
                items.push(Item { entry, content });
            }
            Ok((items, tar.digest()))
        });
        let (items, tar) = read.map_err(|source| refused(slug, source))?;
        Ok(Self { items, tar, gzip: gzip.digest() })
    }
}

impl Content {
    fn read(archive: &mut Archive<impl BufRead>) -> Result<Self, ArchiveError> {
        let (mut bytes, mut blocks, mut digest) = (0, Vec::new(), Sha256::new());
        archive.data(|mut piece| {
            while !piece.is_empty() {
                let filled = bytes % BLOCK_BYTES as u64;
                let room = BLOCK_BYTES - usize::try_from(filled).unwrap_or(0);
                let (now, later) = piece.split_at(piece.len().min(room));
                digest.update(now);
                bytes += now.len() as u64;
                if now.len() == room {
                    blocks.push(digest.finalize_reset().into());
                }
                piece = later;
            }
            Ok::<_, ArchiveError>(())
        })?;
        if bytes % BLOCK_BYTES as u64 > 0 {
            blocks.push(digest.finalize().into());
        }
        Ok(Self { bytes, blocks })
    }
}

/// Everything that differs, content with the number of its first differing block.
fn compare(left: &Index, right: &Index) -> Vec<Difference> {
    let theirs: HashMap<&TreePath, &Item> = by_path(&right.items);
    let ours: HashMap<&TreePath, &Item> = by_path(&left.items);
    let mut differences = Vec::new();
    for item in &left.items {
        let path = &item.entry.path;
        let kind = match theirs.get(path) {
            Some(other) => item_difference(item, other),
            None => Some(DifferenceKind::OnlyLeft),
        };
        differences.extend(kind.map(|kind| Difference { path: path.to_path_buf(), kind }));
    }
    let extra = right.items.iter().filter(|item| !ours.contains_key(&item.entry.path));
    differences.extend(extra.map(|item| Difference {
        path: item.entry.path.to_path_buf(),
        kind: DifferenceKind::OnlyRight,
    }));
    if differences.is_empty() {
        return unlike_in_writing(left, right).into_iter().collect();
    }
    // By components, which is the order of a slug.
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    differences
}

fn by_path(items: &[Item]) -> HashMap<&TreePath, &Item> {
    items.iter().map(|item| (&item.entry.path, item)).collect()
}

fn item_difference(left: &Item, right: &Item) -> Option<DifferenceKind> {
    use EntryKind::{File, Folder, HardLink, Symlink};
    let link = |left: &Path, right: &Path| {
        let (left, right) = (left.to_path_buf(), right.to_path_buf());
        (left != right).then_some(DifferenceKind::Link { left, right })
    };
    match (&left.entry.kind, &right.entry.kind) {
        (File { executable: ours, .. }, File { executable: theirs, .. }) => {
            content_difference(&left.content, &right.content).or_else(|| {
                let (left, right) = (file_mode(*ours), file_mode(*theirs));
                (left != right).then_some(DifferenceKind::Mode { left, right })
            })
        }
        (Folder, Folder) => None,
        (Symlink { target: ours }, Symlink { target: theirs }) => {
            link(Path::new(OsStr::from_bytes(ours)), Path::new(OsStr::from_bytes(theirs)))
        }
        (HardLink { target: ours }, HardLink { target: theirs }) => {
            link(ours.as_path(), theirs.as_path())
        }
        (left, right) => {
            Some(DifferenceKind::Type { left: kind_name(left), right: kind_name(right) })
        }
    }
}

fn content_difference(left: &Content, right: &Content) -> Option<DifferenceKind> {
    let same = left.blocks.iter().zip(&right.blocks).take_while(|(a, b)| a == b).count();
    let equal = left.bytes == right.bytes && same == left.blocks.len();
    (!equal).then_some(DifferenceKind::Content {
        at: same as u64,
        left_bytes: left.bytes,
        right_bytes: right.bytes,
    })
}

/// What is left to differ when every entry has its equal.
fn unlike_in_writing(left: &Index, right: &Index) -> Option<Difference> {
    let mut pairs = left.items.iter().zip(&right.items);
    if let Some((item, _)) = pairs.find(|(ours, theirs)| ours.entry.path != theirs.entry.path) {
        return Some(Difference {
            path: item.entry.path.to_path_buf(),
            kind: DifferenceKind::Order,
        });
    }
    let kind = match (left.tar == right.tar, left.gzip == right.gzip) {
        (false, _) => DifferenceKind::Headers,
        (true, false) => DifferenceKind::Compression,
        (true, true) => return None,
    };
    Some(Difference { path: PathBuf::new(), kind })
}

/// Block number `block` of the file `path` in a slug; empty where the file has ended.
fn read_block(slug: &Path, path: &Path, block: u64, limits: &Limits) -> Result<Vec<u8>, DiffError> {
    let from = block * BLOCK_BYTES as u64;
    let read = gunzip(open(slug)?, limits.compressed_bytes_max, |tar| {
        let mut archive = Archive::new(tar, Layout::Slug, limits);
        let (mut held, mut at) = (Vec::new(), 0);
        while let Some(entry) = archive.next()? {
            if entry.path.as_path() != path {
                continue;
            }
            archive.data(|piece| {
                let skipped = usize::try_from(from.saturating_sub(at)).unwrap_or(usize::MAX);
                let wanted = &piece[piece.len().min(skipped)..];
                held.extend_from_slice(&wanted[..wanted.len().min(BLOCK_BYTES - held.len())]);
                at += piece.len() as u64;
                Ok::<_, ArchiveError>(())
            })?;
            break;
        }
        Ok(held)
    });
    read.map_err(|source| refused(slug, source))
}

fn open(slug: &Path) -> Result<File, DiffError> {
    File::open(slug).map_err(|source| DiffError::Open { path: slug.to_path_buf(), source })
}

fn refused(slug: &Path, source: ArchiveError) -> DiffError {
    DiffError::Archive { path: slug.to_path_buf(), source }
}

fn kind_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "file",
        EntryKind::Folder => "folder",
        EntryKind::Symlink { .. } => "symbolic link",
        EntryKind::HardLink { .. } => "hard link",
    }
}

fn file_mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

#[expect(
    clippy::unnecessary_debug_formatting,
    reason = "names come from builds; escaped, they cannot forge lines on a terminal"
)]
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(f, "{:?}: ", self.path)?;
        }
        match &self.kind {
            DifferenceKind::OnlyLeft => write!(f, "only in the first"),
            DifferenceKind::OnlyRight => write!(f, "only in the second"),
            DifferenceKind::Type { left, right } => {
                write!(f, "{left} in the first, {right} in the second")
            }
            DifferenceKind::Mode { left, right } => {
                write!(f, "mode {left:o} in the first, {right:o} in the second")
            }
            DifferenceKind::Link { left, right } => {
                write!(f, "links to {left:?} in the first, to {right:?} in the second")
            }
            DifferenceKind::Content { at, left_bytes, right_bytes } => {
                write!(
                    f,
                    "content differs from byte {at} on ({left_bytes} and {right_bytes} bytes)"
                )
            }
            DifferenceKind::Order => {
                write!(f, "the same entries, which from here come in another order")
            }
            DifferenceKind::Headers => {
                write!(f, "the same entries, written with other times, owners or padding")
            }
            DifferenceKind::Compression => write!(f, "the same tar, compressed otherwise"),
        }
    }
}
