//! Slugs as trees: unpacked once for each machine and owner, and collected when nothing uses them.

use crate::containers::StartError;
use lathe_slug::{Checked, Layout, Owner, SlugId, UnpackLimits, unpack};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Opens the stored archive of a slug; `NotFound` when there is none.
pub type OpenSlug = Box<dyn Fn(SlugId) -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// Trees kept although no dyno uses them: a crashed dyno comes back soon.
const UNUSED_MAX: usize = 8;

/// A tree is one slug as one user's files.
type Key = (SlugId, u32);

pub(super) struct Slugs {
    dir: PathBuf,
    open: OpenSlug,
    limits: UnpackLimits,
    trees: Mutex<BTreeMap<Key, Arc<Tree>>>,
}

#[derive(Debug, Default)]
struct Tree {
    /// Held while the tree is being unpacked or removed.
    busy: Mutex<()>,
    uses: Mutex<Uses>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    count: u32,
    /// Grows with every release in the whole store, so that the least recent is known.
    released: u64,
}

impl std::fmt::Debug for Slugs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slugs").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Slugs {
    /// `used` are those of adopted dynos; whatever else lies in `dir` is removed.
    pub(super) fn adopt(
        dir: PathBuf,
        open: OpenSlug,
        limits: UnpackLimits,
        used: &[Key],
    ) -> io::Result<Self> {
        let slugs = Self { dir, open, limits, trees: Mutex::default() };
        for key in used {
            slugs.enter(*key);
        }
        for entry in fs::read_dir(&slugs.dir)? {
            let entry = entry?.path();
            if !used.iter().any(|key| slugs.path(*key) == entry) {
                fs::remove_dir_all(entry)?;
            }
        }
        Ok(slugs)
    }

    /// Unpacks the slug unless that is done, and keeps it until `release`.
    pub(super) fn take(&self, key: Key) -> Result<PathBuf, StartError> {
        let tree = self.enter(key);
        let path = self.path(key);
        let busy = lock(&tree.busy);
        let ready = if path.exists() { Ok(()) } else { self.unpack(key, &path) };
        drop(busy);
        match ready {
            Ok(()) => Ok(path),
            Err(error) => {
                self.release(key);
                Err(error)
            }
        }
    }

    pub(super) fn release(&self, key: Key) {
        for grave in self.part(key) {
            if let Err(error) = fs::remove_dir_all(&grave) {
                tracing::warn!(%error, path = %grave.display(), "old slug cannot be removed");
            }
        }
    }

    /// Counts one use less; says where the trees are now that are not kept any more.
    fn part(&self, key: Key) -> Vec<PathBuf> {
        let mut trees = lock(&self.trees);
        let clock = trees.values().map(|tree| lock(&tree.uses).released).max().unwrap_or(0);
        if let Some(tree) = trees.get(&key) {
            let mut uses = lock(&tree.uses);
            uses.count = uses.count.saturating_sub(1);
            uses.released = clock + 1;
        }
        let mut unused: Vec<(u64, Key)> = trees
            .iter()
            .map(|(key, tree)| (*lock(&tree.uses), *key))
            .filter(|(uses, _)| uses.count == 0)
            .map(|(uses, key)| (uses.released, key))
            .collect();
        unused.sort_unstable();
        let surplus = unused.len().saturating_sub(UNUSED_MAX);
        let mut graves = Vec::new();
        for (_, key) in unused.into_iter().take(surplus) {
            trees.remove(&key);
            // Renamed while the table is locked: whoever wants it from now on unpacks it anew.
            let grave = self.dir.join(format!(".gone-{}", uuid::Uuid::new_v4().simple()));
            if fs::rename(self.path(key), &grave).is_ok() {
                graves.push(grave);
            }
        }
        graves
    }

    /// The tree, counted as in use before anybody could find it unused and collect it.
    fn enter(&self, key: Key) -> Arc<Tree> {
        let mut trees = lock(&self.trees);
        let tree = trees.entry(key).or_default();
        lock(&tree.uses).count += 1;
        Arc::clone(tree)
    }

    fn path(&self, (slug, uid): Key) -> PathBuf {
        self.dir.join(format!("{slug}-{uid}"))
    }

    fn unpack(&self, (slug, uid): Key, path: &Path) -> Result<(), StartError> {
        let owner = Some(Owner { uid, gid: uid });
        let mut repeated = false;
        loop {
            let archive = Checked::new(self.archive(slug)?, slug);
            let Err(error) = unpack(archive, path, Layout::Slug, &self.limits, owner) else {
                return Ok(());
            };
            // A slug that was damaged on its way here is whole the second time.
            if !repeated {
                repeated = true;
                continue;
            }
            let actual = digest(self.archive(slug)?)
                .map_err(|source| StartError::SlugUnpack { slug, source: source.into() })?;
            return Err(if actual == slug {
                StartError::SlugUnpack { slug, source: error.into() }
            } else {
                StartError::SlugChecksum { expected: slug, actual }
            });
        }
    }

    fn archive(&self, slug: SlugId) -> Result<Box<dyn Read + Send>, StartError> {
        (self.open)(slug).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StartError::SlugMissing(slug),
            _ => StartError::SlugUnpack { slug, source: error.into() },
        })
    }
}

fn digest(mut archive: impl Read) -> io::Result<SlugId> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match archive.read(&mut piece)? {
            0 => break,
            bytes => hasher.update(&piece[..bytes]),
        }
    }
    Ok(SlugId::from_digest(hasher.finalize().into()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
