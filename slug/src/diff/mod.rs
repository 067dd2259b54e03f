//! Where two slugs differ: not a hex dump, but the entries and what is different about each.

mod content;
mod elf;
mod said;

use crate::Limits;
use crate::archive::{Archive, ArchiveError, Entry, EntryKind, Layout};
use crate::gunzip::gunzip;
use crate::path::TreePath;
use crate::tally::Tally;
pub use elf::elf_section;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// As in the slug, below `./`; empty where no single entry differs.
    #[serde(serialize_with = "readable")]
    pub path: PathBuf,
    #[serde(flatten)]
    pub kind: DifferenceKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
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
        #[serde(serialize_with = "readable")]
        left: PathBuf,
        #[serde(serialize_with = "readable")]
        right: PathBuf,
    },
    /// The first byte that differs, counted from 0, and both sizes. Of two programs also the sections
    /// that differ or are in one alone, in the order of the first.
    Content {
        at: u64,
        left_bytes: u64,
        right_bytes: u64,
        sections: Vec<String>,
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
    #[error("could not compare {path:?} byte by byte")]
    Content {
        path: PathBuf,
        #[source]
        source: io::Error,
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
        if let DifferenceKind::Content { at, sections, .. } = kind {
            let (one, two) =
                (content::extract(left, path, limits)?, content::extract(right, path, limits)?);
            let failed = |source| DiffError::Content { path: path.clone(), source };
            *at = content::first_difference(&one, &two).map_err(failed)?;
            *sections = elf::differing_sections(&one, &two).map_err(failed)?;
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

#[derive(PartialEq, Eq)]
struct Content {
    bytes: u64,
    digest: [u8; 32],
}

impl Index {
    fn read(slug: &Path, limits: &Limits) -> Result<Self, DiffError> {
        let mut gzip = Tally::new(open(slug)?);
        let read = gunzip(&mut gzip, limits.compressed_bytes_max, |tar| {
            let mut tar = Tally::new(tar);
            let reader = BufReader::with_capacity(BUFFER_BYTES, &mut tar);
            let mut archive = Archive::new(reader, Layout::Slug, limits);
            let mut items = Vec::new();
            while let Some(entry) = archive.next()? {
                let (mut bytes, mut digest) = (0, Sha256::new());
                archive.data(|piece| {
                    digest.update(piece);
                    bytes += piece.len() as u64;
                    Ok::<_, ArchiveError>(())
                })?;
                let content = Content { bytes, digest: digest.finalize().into() };
                items.push(Item { entry, content });
            }
            Ok((items, tar.digest()))
        });
        let (items, tar) = read.map_err(|source| refused(slug, source))?;
        Ok(Self { items, tar, gzip: gzip.digest() })
    }
}

/// Everything that differs; of contents only that they do.
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
    (left != right).then_some(DifferenceKind::Content {
        at: 0,
        left_bytes: left.bytes,
        right_bytes: right.bytes,
        sections: Vec::new(),
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

/// Names are bytes; JSON holds text.
fn readable<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
