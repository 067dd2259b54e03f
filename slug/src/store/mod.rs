//! Slugs on disk, each under its identity, there for good once it was said to be.

mod incoming;
mod janitor;

pub use incoming::Incoming;

use crate::archive::ArchiveError;
use crate::inspect::inspect;
use crate::{Limits, Manifest, SlugId, fs};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// A folder of `<id>.tgz` and `<id>.json`, its manifest, and of `incoming/`, what is still arriving.
/// The manifest is written first: the slug's own name is what makes it stored. One process writes; any
/// may read. Clones share one store.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    free_floor_bytes: u64,
    limits: Limits,
    /// Held to publish and to collect, so that a slug put again is never collected as an old one.
    changing: Mutex<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub manifest: Manifest,
    /// When it was put, or last put again.
    pub stored_at: SystemTime,
}

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub removed: Vec<SlugId>,
    /// Compressed bytes set free.
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("could not open the slug store at {dir:?}")]
    Open {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not read the arriving slug")]
    Receive(#[source] io::Error),
    #[error("could not store the slug in {dir:?}")]
    Write {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the disk of the slug store has {free} bytes free, and {floor} must stay free")]
    DiskFull { free: u64, floor: u64 },
    #[error("the slug was refused")]
    Refused(#[source] ArchiveError),
    #[error("slug {id} is not in the store")]
    Unknown { id: SlugId },
    #[error("could not read slug {id}")]
    Read {
        id: SlugId,
        #[source]
        source: io::Error,
    },
    #[error("slug {id} is damaged: the stored bytes are not those it was named after")]
    Damaged { id: SlugId },
    #[error("could not remove slug {id}")]
    Remove {
        id: SlugId,
        #[source]
        source: io::Error,
    },
}

impl Store {
    /// Opens or creates the store in `dir`, and clears away what interrupted writes left behind.
    /// New slugs are refused when less than `free_floor_bytes` would stay free on its disk.
    pub fn open(dir: impl Into<PathBuf>, free_floor_bytes: u64) -> Result<Self, StoreError> {
        Self::open_with_limits(dir, free_floor_bytes, Limits::default())
    }

    pub fn open_with_limits(
        dir: impl Into<PathBuf>,
        free_floor_bytes: u64,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let dir = dir.into();
        janitor::prepare(&dir, &limits)
            .map_err(|source| StoreError::Open { dir: dir.clone(), source })?;
        let changing = Mutex::new(());
        Ok(Self { inner: Arc::new(Inner { dir, free_floor_bytes, limits, changing }) })
    }

    /// A store that another process writes, to be read only.
    pub fn attach(dir: impl Into<PathBuf>) -> Self {
        let (dir, limits, changing) = (dir.into(), Limits::default(), Mutex::new(()));
        Self { inner: Arc::new(Inner { dir, free_floor_bytes: u64::MAX, limits, changing }) }
    }

    /// Stores what `reader` yields, once it has proved to be a slug that can be unpacked.
    pub fn put(&self, mut reader: impl Read) -> Result<Manifest, StoreError> {
        let mut incoming = self.begin()?;
        let mut piece = vec![0; 128 << 10];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return incoming.commit(),
                Ok(n) => incoming.append(&piece[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::Receive(error)),
            }
        }
    }

    /// Begins a slug that arrives piece by piece.
    pub fn begin(&self) -> Result<Incoming, StoreError> {
        Incoming::begin(self)
    }

    pub fn contains(&self, id: &SlugId) -> bool {
        self.path(id).is_file()
    }

    pub fn open_slug(&self, id: &SlugId) -> Result<File, StoreError> {
        File::open(self.path(id)).map_err(|source| read_error(*id, source))
    }

    /// Where a slug is in the store of `dir`, if it is stored: any process may read it there.
    pub fn path_in(dir: &Path, id: &SlugId) -> PathBuf {
        slug_path(dir, id)
    }

    /// Where the slug is, if it is stored.
    pub fn path(&self, id: &SlugId) -> PathBuf {
        slug_path(&self.inner.dir, id)
    }

    pub fn manifest(&self, id: &SlugId) -> Result<Manifest, StoreError> {
        if !self.contains(id) {
            return Err(StoreError::Unknown { id: *id });
        }
        let json = std::fs::read(manifest_path(&self.inner.dir, id));
        let json = json.map_err(|source| StoreError::Read { id: *id, source })?;
        let manifest: Manifest =
            serde_json::from_slice(&json).map_err(|_| StoreError::Damaged { id: *id })?;
        if manifest.id == *id { Ok(manifest) } else { Err(StoreError::Damaged { id: *id }) }
    }

    /// Reads the whole slug again and holds it against its identity. To put a damaged slug anew mends it.
    pub fn verify(&self, id: &SlugId) -> Result<Manifest, StoreError> {
        let file = self.open_slug(id)?;
        match inspect(file, &self.inner.limits) {
            Ok(manifest) if manifest.id == *id => Ok(manifest),
            Err(ArchiveError::Read(source)) if source.raw_os_error().is_some() => {
                Err(StoreError::Read { id: *id, source })
            }
            Ok(_) | Err(_) => Err(StoreError::Damaged { id: *id }),
        }
    }

    /// All slugs, sorted by identity.
    pub fn list(&self) -> Result<Vec<Stored>, StoreError> {
        let mut stored = Vec::new();
        for id in self.ids()? {
            let manifest = match self.manifest(&id) {
                Ok(manifest) => manifest,
                // Collected since the folder was listed.
                Err(StoreError::Unknown { .. }) => continue,
                Err(error) => return Err(error),
            };
            stored.push(Stored { manifest, stored_at: self.stored_at(&id)? });
        }
        Ok(stored)
    }

    /// Removes every slug that is not in `keep` and was put more than `grace` before `now`. The grace
    /// protects what is stored but not yet released.
    pub fn collect(
        &self,
        keep: &BTreeSet<SlugId>,
        grace: Duration,
        now: SystemTime,
    ) -> Result<Collected, StoreError> {
        let _changing = self.changing();
        let mut collected = Collected::default();
        for id in self.ids()?.into_iter().filter(|id| !keep.contains(id)) {
            // A slug from the future, by a clock set back since, is young.
            let age = now.duration_since(self.stored_at(&id)?).unwrap_or(Duration::ZERO);
            if age <= grace {
                continue;
            }
            collected.bytes += self.remove(&id)?;
            collected.removed.push(id);
        }
        fs::sync_dir(&self.inner.dir).map_err(|source| self.write_error(source))?;
        Ok(collected)
    }

    /// In the opposite order of publishing, so that no slug is ever without its manifest.
    fn remove(&self, id: &SlugId) -> Result<u64, StoreError> {
        let failed = |source| StoreError::Remove { id: *id, source };
        let path = self.path(id);
        let bytes = path.metadata().map_err(failed)?.len();
        std::fs::remove_file(path).map_err(failed)?;
        janitor::remove_if_there(&manifest_path(&self.inner.dir, id)).map_err(failed)?;
        Ok(bytes)
    }

    fn ids(&self) -> Result<BTreeSet<SlugId>, StoreError> {
        janitor::ids(&self.inner.dir)
            .map_err(|source| StoreError::Open { dir: self.inner.dir.clone(), source })
    }

    fn stored_at(&self, id: &SlugId) -> Result<SystemTime, StoreError> {
        let modified = self.path(id).metadata().and_then(|metadata| metadata.modified());
        modified.map_err(|source| read_error(*id, source))
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        // It guards no data, so a panic elsewhere left nothing half done that it could tell of.
        self.inner.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_error(&self, source: io::Error) -> StoreError {
        StoreError::Write { dir: self.inner.dir.clone(), source }
    }
}

fn slug_path(dir: &Path, id: &SlugId) -> PathBuf {
    dir.join(format!("{id}.tgz"))
}

fn manifest_path(dir: &Path, id: &SlugId) -> PathBuf {
    dir.join(format!("{id}.json"))
}

fn read_error(id: SlugId, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::NotFound => StoreError::Unknown { id },
        _ => StoreError::Read { id, source },
    }
}
