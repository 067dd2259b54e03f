//! A commit as a tar stream, read from the object store: nothing of it is ever a file on the host.

use crate::config::Config;
use git2::{ObjectType, Odb, Oid, Repository, Tree};
use lathe_slug::{Exceeded, Limit};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// How much a commit may hold. Trees can share themselves: a few objects may unfold to any size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of all files together.
    bytes_max: u64,
    /// One file is in memory as a whole while it is written.
    file_bytes_max: u64,
    /// Of entries and depth: the same as for an archive of the same source.
    archives: lathe_slug::Limits,
}

impl Limits {
    pub(super) fn of(config: &Config) -> Self {
        let (bytes_max, file_bytes_max) = (config.push.unpacked_bytes, config.push.file_bytes);
        Self { bytes_max, file_bytes_max, archives: config.archives }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("repository {} could not be opened", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: git2::Error,
    },
    #[error("commit {commit} could not be read")]
    Commit {
        commit: Oid,
        #[source]
        source: git2::Error,
    },
    #[error("{} could not be read", path.display())]
    Object {
        path: PathBuf,
        #[source]
        source: git2::Error,
    },
    #[error("{} is no file", path.display())]
    NoFile { path: PathBuf },
    #[error("{} has {bytes} bytes, more than {max}", path.display())]
    File { path: PathBuf, bytes: u64, max: u64 },
    #[error("the tree has at least {bytes} bytes, more than {max}")]
    Bytes { bytes: u64, max: u64 },
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
        let what = match self {
            Self::File { path, bytes, max } => format!(
                "{} has {bytes} bytes, the limit for a file is {max} (push.file).",
                path.as_os_str().as_bytes().escape_ascii(),
            ),
            Self::Bytes { bytes, max } => format!(
                "The files of this commit have at least {bytes} bytes together, the limit is \
                 {max} (push.unpacked)."
            ),
            Self::Shape { source, .. } => format!("This commit has {source}."),
            Self::Commit { .. } => "What was pushed is not a commit.".into(),
            Self::Open { .. } | Self::Object { .. } | Self::NoFile { .. } | Self::Write { .. } => {
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
    let repository = Repository::open_bare(repo).map_err(open)?;
    let odb = repository.odb().map_err(open)?;
    if let Some(path) = quarantine.and_then(Path::to_str) {
        odb.add_disk_alternate(path).map_err(open)?;
    }
    let failed = |source| ExportError::Commit { commit, source };
    let commit = repository.find_commit(commit).map_err(failed)?;
    let mtime = u64::try_from(commit.time().seconds()).unwrap_or(0);
    let tree = commit.tree().map_err(failed)?;
    let mut exporter = Exporter {
        repository: &repository,
        odb: &odb,
        limits,
        tar: Builder::new(out),
        mtime,
        bytes: 0,
        entries: 0,
        exported: Exported::default(),
    };
    exporter.tree(&tree, Path::new(""), 0)?;
    let Exporter { mut tar, exported, .. } = exporter;
    tar.finish().map_err(|source| ExportError::Write { path: PathBuf::new(), source })?;
    Ok(exported)
}

struct Exporter<'a, W: Write> {
    repository: &'a Repository,
    odb: &'a Odb<'a>,
    limits: &'a Limits,
    tar: Builder<W>,
    mtime: u64,
    bytes: u64,
    entries: u64,
    exported: Exported,
}

impl<W: Write> Exporter<'_, W> {
    fn tree(&mut self, tree: &Tree<'_>, dir: &Path, depth: usize) -> Result<(), ExportError> {
        let depth_max = self.limits.archives.depth_max;
        hold(dir, Limit::Depth, depth as u64, depth_max as u64)?;
        for entry in tree {
            self.entries += 1;
            hold(dir, Limit::Entries, self.entries, self.limits.archives.entries_max)?;
            let path = dir.join(OsStr::from_bytes(entry.name_bytes()));
            // What a tree may hold. Git documentation, git-fast-import(1), "filemodify".
            match entry.filemode() {
                0o040_000 => {
                    let failed = |source| ExportError::Object { path: path.clone(), source };
                    let tree = self.repository.find_tree(entry.id()).map_err(failed)?;
                    self.folder(&path)?;
                    self.tree(&tree, &path, depth + 1)?;
                }
                0o160_000 => self.submodule(&path),
                mode => self.blob(entry.id(), mode, &path)?,
            }
        }
        Ok(())
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

    fn blob(&mut self, id: Oid, mode: i32, path: &Path) -> Result<(), ExportError> {
        let unread = |source| ExportError::Object { path: path.to_owned(), source };
        let failed = |source| ExportError::Write { path: path.to_owned(), source };
        // The size first: it costs nothing, and the content may be anything.
        let (size, kind) = self.odb.read_header(id).map_err(unread)?;
        let size = size as u64;
        if kind != ObjectType::Blob {
            return Err(ExportError::NoFile { path: path.to_owned() });
        }
        let Limits { bytes_max, file_bytes_max, .. } = *self.limits;
        if size > file_bytes_max {
            let (path, max) = (path.to_owned(), file_bytes_max);
            return Err(ExportError::File { path, bytes: size, max });
        }
        self.bytes += size;
        if self.bytes > bytes_max {
            return Err(ExportError::Bytes { bytes: self.bytes, max: bytes_max });
        }
        let object = self.odb.read(id).map_err(unread)?;
        if mode == 0o120_000 {
            let mut header = self.header(EntryType::Symlink, 0o777, 0);
            let target = Path::new(OsStr::from_bytes(object.data()));
            return self.tar.append_link(&mut header, path, target).map_err(failed);
        }
        let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
        let mut header = self.header(EntryType::Regular, mode, size);
        self.tar.append_data(&mut header, path, object.data()).map_err(failed)
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
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
    use std::collections::BTreeMap;
    use std::io::Read;

    const LIMITS: Limits = Limits {
        bytes_max: 1 << 20,
        file_bytes_max: 1 << 10,
        archives: lathe_slug::Limits { entries_max: 1000, ..lathe_slug::Limits::HEROKU },
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
}
