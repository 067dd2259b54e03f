//! A commit as a tar stream, read from the object store: nothing of it is ever a file on the host.

use super::objects::{Header, Kind, ObjectError, Objects};
use super::tree::{self, Commit, Entry};
use crate::config::Config;
use crate::plumbing;
use git2::Oid;
use lathe_slug::{Exceeded, Limit};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType};

/// Of a commit, and of all trees on the way to a file: more names than any source has.
const LISTS_BYTES_MAX: u64 = 32 << 20;
/// Of a link's target: what a path may have on Linux (`path_resolution(7)`), without its last zero.
const LINK_BYTES_MAX: u64 = 4095;
/// Files that git is asked for at once; the list of their ids fits into a pipe.
const ASKED_MAX: usize = 256;

/// How much a commit may hold. Trees can share themselves: a few objects may unfold to any size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of all files together.
    bytes_max: u64,
    file_bytes_max: u64,
    /// Of entries and depth: the same as for an archive of the same source.
    archives: lathe_slug::Limits,
    /// What git may take to read it.
    memory_bytes: u64,
}

impl Limits {
    pub(super) fn of(config: &Config) -> Self {
        let (bytes_max, file_bytes_max) = (config.push.unpacked_bytes, config.push.file_bytes);
        let memory_bytes = plumbing::memory_bytes(&config.push);
        Self { bytes_max, file_bytes_max, archives: config.archives, memory_bytes }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("repository {} could not be read", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: ObjectError,
    },
    #[error("{commit} is no commit")]
    Commit { commit: Oid },
    #[error("{} could not be read", path.display())]
    Object {
        path: PathBuf,
        #[source]
        source: ObjectError,
    },
    #[error("{} is no file", path.display())]
    NoFile { path: PathBuf },
    #[error("{} is no folder", path.display())]
    NoFolder { path: PathBuf },
    #[error("{} has {bytes} bytes, more than {max}", path.display())]
    File { path: PathBuf, bytes: u64, max: u64 },
    #[error("the target of {} has {bytes} bytes, more than a path may have", path.display())]
    Link { path: PathBuf, bytes: u64 },
    #[error("the tree has at least {bytes} bytes, more than {max}")]
    Bytes { bytes: u64, max: u64 },
    #[error("what is said of {} has {bytes} bytes", path.display())]
    Listing { path: PathBuf, bytes: u64 },
    #[error("the tree is too large at {}", path.display())]
    Shape {
        path: PathBuf,
        #[source]
        source: Exceeded,
    },
    #[error("the source could not be handed over at {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl ExportError {
    /// For the pusher: what happened and what to do.
    pub(super) fn explain(&self) -> Vec<String> {
        let shown = |path: &Path| path.as_os_str().as_bytes().escape_ascii().to_string();
        let what = match self {
            Self::File { path, bytes, max } => {
                let path = shown(path);
                format!("{path} has {bytes} bytes, the limit for a file is {max} (push.file).")
            }
            Self::Link { path, bytes } => format!(
                "{} is a link to a path of {bytes} bytes, the limit is {LINK_BYTES_MAX}.",
                shown(path)
            ),
            Self::Bytes { bytes, max } => format!(
                "The files of this commit have at least {bytes} bytes together, the limit is \
                 {max} (push.unpacked)."
            ),
            Self::Listing { path, bytes } if path.as_os_str().is_empty() => {
                format!("This commit says {bytes} bytes of itself, the limit is {LISTS_BYTES_MAX}.")
            }
            Self::Listing { path, bytes } => format!(
                "The names in {} have {bytes} bytes, the limit is {LISTS_BYTES_MAX}.",
                shown(path)
            ),
            Self::Shape { source, .. } => format!("This commit has {source}."),
            Self::Commit { .. } => "What was pushed is not a commit.".into(),
            Self::Open { .. }
            | Self::Object { .. }
            | Self::NoFile { .. }
            | Self::NoFolder { .. }
            | Self::Write { .. } => {
                return vec!["The source could not be read. Push again.".into()];
            }
        };
        vec![what, "Take out of the repository what the app does not need, and push again.".into()]
    }
}

/// What was left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Exported {
    /// Submodules are other repositories: their files are not in the commit.
    pub(super) submodules: Vec<String>,
}

/// Writes the tree of `commit` as a tar. `quarantine` is where git keeps the objects of a push that
/// is not accepted yet.
pub(super) fn export(
    repo: &Path,
    quarantine: Option<&Path>,
    commit: Oid,
    limits: &Limits,
    out: impl Write,
) -> Result<Exported, ExportError> {
    let open = |source| ExportError::Open { path: repo.to_owned(), source };
    let objects = Objects::open(repo, quarantine, limits.memory_bytes).map_err(open)?;
    let mut exporter = Exporter {
        objects,
        limits,
        tar: Builder::new(out),
        mtime: 0,
        listed: 0,
        bytes: 0,
        entries: 0,
        exported: Exported::default(),
    };
    let tree = exporter.commit(commit)?;
    exporter.tree(tree, Path::new(""), 0)?;
    let Exporter { mut tar, exported, .. } = exporter;
    tar.finish().map_err(|source| ExportError::Write { path: PathBuf::new(), source })?;
    Ok(exported)
}

struct Exporter<'a, W: Write> {
    objects: Objects,
    limits: &'a Limits,
    tar: Builder<W>,
    mtime: u64,
    /// Bytes of the trees that are in memory: those on the way to where we are.
    listed: u64,
    bytes: u64,
    entries: u64,
    exported: Exported,
}

impl<W: Write> Exporter<'_, W> {
    /// Its tree.
    fn commit(&mut self, id: Oid) -> Result<Oid, ExportError> {
        let commit = match self.whole(id, Kind::Commit, Path::new("")) {
            Ok(Some(text)) => tree::commit(&text),
            Ok(None) | Err(ExportError::Object { source: ObjectError::Absent { .. }, .. }) => None,
            Err(error) => return Err(error),
        };
        let Commit { tree, seconds } = commit.ok_or(ExportError::Commit { commit: id })?;
        self.mtime = seconds;
        Ok(tree)
    }

    /// An object that is needed in memory as a whole; none when it is of another kind.
    fn whole(&mut self, id: Oid, kind: Kind, at: &Path) -> Result<Option<Vec<u8>>, ExportError> {
        let failed = |source| ExportError::Object { path: at.to_owned(), source };
        self.objects.ask(&[id]).map_err(failed)?;
        let header = self.objects.header().map_err(failed)?;
        if header.kind != kind {
            return Ok(None);
        }
        let bytes = self.listed + header.bytes;
        if bytes > LISTS_BYTES_MAX {
            return Err(ExportError::Listing { path: at.to_owned(), bytes });
        }
        let mut whole = Vec::new();
        match self.objects.content(header.bytes).read_to_end(&mut whole) {
            Ok(_) => Ok(Some(whole)),
            Err(_) => Err(failed(self.objects.end())),
        }
    }

    fn tree(&mut self, id: Oid, dir: &Path, depth: usize) -> Result<(), ExportError> {
        let depth_max = self.limits.archives.depth_max;
        hold(dir, Limit::Depth, depth as u64, depth_max as u64)?;
        let none = || ExportError::NoFolder { path: dir.to_owned() };
        let list = self.whole(id, Kind::Tree, dir)?.ok_or_else(none)?;
        self.listed += list.len() as u64;
        let entries = tree::entries(&list).ok_or_else(none)?;
        for entries in entries.chunks(ASKED_MAX) {
            self.some(entries, dir, depth)?;
        }
        self.listed -= list.len() as u64;
        Ok(())
    }

    /// Files first, which git is asked for together, and then folders.
    fn some(&mut self, some: &[Entry<'_>], dir: &Path, depth: usize) -> Result<(), ExportError> {
        let files = some.iter().filter(|entry| entry.is_file());
        let ids: Vec<Oid> = files.clone().map(|entry| entry.id).collect();
        let failed = |source| ExportError::Object { path: dir.to_owned(), source };
        self.objects.ask(&ids).map_err(failed)?;
        for entry in files {
            self.count(dir)?;
            self.blob(entry, &dir.join(entry.name()))?;
        }
        for entry in some.iter().filter(|entry| !entry.is_file()) {
            self.count(dir)?;
            let path = dir.join(entry.name());
            if entry.is_folder() {
                self.folder(&path)?;
                self.tree(entry.id, &path, depth + 1)?;
            } else {
                self.submodule(&path);
            }
        }
        Ok(())
    }

    fn count(&mut self, dir: &Path) -> Result<(), ExportError> {
        self.entries += 1;
        hold(dir, Limit::Entries, self.entries, self.limits.archives.entries_max)
    }

    fn submodule(&mut self, path: &Path) {
        // A few names are enough to see what is meant.
        if self.exported.submodules.len() < 5 {
            self.exported.submodules.push(path.as_os_str().as_bytes().escape_ascii().to_string());
        }
    }

    fn folder(&mut self, path: &Path) -> Result<(), ExportError> {
        let mut header = self.header(EntryType::Directory, 0o755, 0);
        let failed = |source| ExportError::Write { path: path.to_owned(), source };
        self.tar.append_data(&mut header, path, io::empty()).map_err(failed)
    }

    /// It was asked for. Its size comes first, and its content may be anything.
    fn blob(&mut self, entry: &Entry<'_>, path: &Path) -> Result<(), ExportError> {
        let unread = |source| ExportError::Object { path: path.to_owned(), source };
        let Header { kind, bytes } = self.objects.header().map_err(unread)?;
        if kind != Kind::Blob {
            return Err(ExportError::NoFile { path: path.to_owned() });
        }
        let Limits { bytes_max, file_bytes_max, .. } = *self.limits;
        if bytes > file_bytes_max {
            return Err(ExportError::File { path: path.to_owned(), bytes, max: file_bytes_max });
        }
        if entry.is_link() && bytes > LINK_BYTES_MAX {
            return Err(ExportError::Link { path: path.to_owned(), bytes });
        }
        self.bytes += bytes;
        if self.bytes > bytes_max {
            return Err(ExportError::Bytes { bytes: self.bytes, max: bytes_max });
        }
        let (kind, mode) = entry.as_in_tar();
        let mut header = self.header(kind, mode, if entry.is_link() { 0 } else { bytes });
        let mut content = self.objects.content(bytes);
        let written = if entry.is_link() {
            let mut target = Vec::new();
            content
                .read_to_end(&mut target)
                .and_then(|_| self.tar.append_link(&mut header, path, OsStr::from_bytes(&target)))
        } else {
            self.tar.append_data(&mut header, path, &mut content)
        };
        match written {
            Err(_) if content.is_cut() => Err(unread(self.objects.end())),
            Err(source) => Err(ExportError::Write { path: path.to_owned(), source }),
            Ok(()) => Ok(()),
        }
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.mtime);
        header
    }
}

fn hold(at: &Path, limit: Limit, found: u64, max: u64) -> Result<(), ExportError> {
    let shape = |source| ExportError::Shape { path: at.to_owned(), source };
    limit.check(found, max).map_err(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use git2::Repository;
    use std::collections::BTreeMap;

    const LIMITS: Limits = Limits {
        bytes_max: 1 << 20,
        file_bytes_max: 1 << 10,
        archives: lathe_slug::Limits { entries_max: 1000, ..lathe_slug::Limits::HEROKU },
        memory_bytes: 512 << 20,
    };

    fn commit(repository: &Repository, tree: Oid) -> Oid {
        let who = git2::Signature::new("a", "a@example.org", &git2::Time::new(1_000, 0)).unwrap();
        let tree = repository.find_tree(tree).unwrap();
        repository.commit(None, &who, &who, "m", &tree, &[]).unwrap()
    }

    fn read(tar: &[u8]) -> BTreeMap<String, (u32, EntryType, String)> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let (mode, kind) = (entry.header().mode().unwrap(), entry.header().entry_type());
            let mut text = String::new();
            match entry.link_name().unwrap() {
                Some(target) => text = target.display().to_string(),
                None => drop(entry.read_to_string(&mut text).unwrap()),
            }
            (entry.path().unwrap().display().to_string(), (mode, kind, text))
        });
        entries.collect()
    }

    #[test]
    fn a_tree_comes_out_as_git_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        let blob = repository.blob(b"hello").unwrap();
        let link = repository.blob(b"/etc/shadow").unwrap();
        let mut inner = repository.treebuilder(None).unwrap();
        inner.insert("run", blob, 0o100_755).unwrap();
        let inner = inner.write().unwrap();
        let mut outer = repository.treebuilder(None).unwrap();
        outer.insert("Procfile", blob, 0o100_644).unwrap();
        outer.insert("link", link, 0o120_000).unwrap();
        outer.insert("bin", inner, 0o040_000).unwrap();
        outer.insert("sub", Oid::from_bytes(&[7; 20]).unwrap(), 0o160_000).unwrap();
        outer.insert("x".repeat(150), blob, 0o100_644).unwrap();
        let commit = commit(&repository, outer.write().unwrap());

        let mut tar = Vec::new();
        let exported = export(dir.path(), None, commit, &LIMITS, &mut tar).unwrap();
        assert_eq!(exported.submodules, ["sub"]);
        let read = read(&tar);
        assert_eq!(read["Procfile"], (0o644, EntryType::Regular, "hello".into()));
        assert_eq!(read["bin/run"], (0o755, EntryType::Regular, "hello".into()));
        assert_eq!(read["link"], (0o777, EntryType::Symlink, "/etc/shadow".into()));
        assert_eq!(read[&"x".repeat(150)].2, "hello");
        assert_eq!(read.len(), 5);
    }

    #[test]
    fn objects_in_quarantine_are_found() {
        let (main, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Repository::init_bare(main.path()).unwrap();
        let repository = Repository::init_bare(aside.path()).unwrap();
        let tree = repository.treebuilder(None).unwrap().write().unwrap();
        let commit = commit(&repository, tree);
        let quarantine = aside.path().join("objects");
        export(main.path(), Some(&quarantine), commit, &LIMITS, io::sink()).unwrap();
        let lost = export(main.path(), None, commit, &LIMITS, io::sink());
        assert!(matches!(lost, Err(ExportError::Commit { .. })));
    }

    #[test]
    fn trees_that_unfold_without_end_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        let blob = repository.blob(b"").unwrap();
        let mut builder = repository.treebuilder(None).unwrap();
        builder.insert("f", blob, 0o100_644).unwrap();
        let leaf = builder.write().unwrap();
        let nest = |width: usize, depth: usize| {
            (0..depth).fold(leaf, |tree, _| {
                let mut builder = repository.treebuilder(None).unwrap();
                for n in 0..width {
                    builder.insert(format!("d{n}"), tree, 0o040_000).unwrap();
                }
                builder.write().unwrap()
            })
        };
        let said =
            |refused: Result<Exported, ExportError>| refused.unwrap_err().explain().join(" ");
        let wide = commit(&repository, nest(10, 10));
        let refused = export(dir.path(), None, wide, &LIMITS, io::sink());
        assert!(
            said(refused).contains(
                "at least 1001 entries, over the limit of 1000 (setting archive.entries)"
            )
        );
        let deep = commit(&repository, nest(1, 100));
        let refused = export(dir.path(), None, deep, &LIMITS, io::sink());
        assert!(
            said(refused).contains("65 levels deep, over the limit of 64 (setting archive.depth)")
        );
    }

    #[test]
    fn files_that_are_too_large_are_refused_before_they_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        let commit_of = |sizes: &[usize]| {
            let mut builder = repository.treebuilder(None).unwrap();
            for (n, size) in sizes.iter().enumerate() {
                let blob = repository.blob(&vec![b'x'; *size]).unwrap();
                builder.insert(format!("f{n}"), blob, 0o100_644).unwrap();
            }
            commit(&repository, builder.write().unwrap())
        };
        let limits = Limits { bytes_max: 2000, ..LIMITS };
        for (sizes, expected) in [
            (&[1024, 900][..], None),
            (&[1, 1025], Some("f1 has 1025 bytes, the limit for a file is 1024 (push.file).")),
            (
                &[1000, 999, 2],
                Some("at least 2001 bytes together, the limit is 2000 (push.unpacked)"),
            ),
        ] {
            let exported = export(dir.path(), None, commit_of(sizes), &limits, io::sink());
            match (exported, expected) {
                (Ok(_), None) => {}
                (Err(error), Some(reason)) => {
                    let said = error.explain().join(" ");
                    assert!(said.contains(reason), "{said}");
                }
                (exported, _) => panic!("{sizes:?}: {exported:?}"),
            }
        }
    }

    #[test]
    fn a_link_to_more_than_a_path_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(dir.path()).unwrap();
        let linked = |bytes: usize| {
            let blob = repository.blob(&vec![b'x'; bytes]).unwrap();
            let mut builder = repository.treebuilder(None).unwrap();
            builder.insert("far", blob, 0o120_000).unwrap();
            let limits = Limits { file_bytes_max: 1 << 20, ..LIMITS };
            let commit = commit(&repository, builder.write().unwrap());
            export(dir.path(), None, commit, &limits, io::sink())
        };
        assert!(linked(4095).is_ok());
        let said = linked(4096).unwrap_err().explain().join(" ");
        assert!(
            said.contains("far is a link to a path of 4096 bytes, the limit is 4095"),
            "{said}"
        );
    }
}
