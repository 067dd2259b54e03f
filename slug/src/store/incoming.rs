//! A slug on its way into the store.

use super::{Store, StoreError, janitor, manifest_path};
use crate::inspect::inspect;
use crate::{ArchiveError, Limit, Manifest, fs};
use rustix::fs::{FlockOperation, flock, fstatvfs};
use std::fs::{File, FileTimes};
use std::io::{self, Write};
use std::time::SystemTime;
use tempfile::NamedTempFile;

/// How often the disk is asked for its free space, in bytes written.
const FREE_CHECK_BYTES: u64 = 16 << 20;

/// Bytes go to a file of their own; [`Incoming::commit`] makes them a slug, and dropping removes them.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    temp: NamedTempFile,
    bytes: u64,
    /// Bytes that may come before the disk is asked again.
    unchecked: u64,
}

impl Incoming {
    pub(super) fn begin(store: &Store) -> Result<Self, StoreError> {
        let temp = tempfile::Builder::new()
            .prefix("slug-")
            .tempfile_in(janitor::incoming(&store.inner.dir))
            .map_err(|source| store.write_error(source))?;
        // The janitor of another process leaves alone what is locked; a crash unlocks.
        flock(&temp, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| store.write_error(error.into()))?;
        let mut incoming = Self { store: store.clone(), temp, bytes: 0, unchecked: 0 };
        incoming.check_free()?;
        Ok(incoming)
    }

    pub fn append(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        let max = self.store.inner.limits.compressed_bytes_max;
        let length = piece.len() as u64;
        Limit::Compressed
            .check(self.bytes + length, max)
            .map_err(|exceeded| StoreError::Refused(ArchiveError::Limit(exceeded)))?;
        if length > self.unchecked {
            self.check_free()?;
        }
        self.temp.write_all(piece).map_err(|source| self.store.write_error(source))?;
        self.bytes += length;
        self.unchecked = self.unchecked.saturating_sub(length);
        Ok(())
    }

    /// Reads the slug back, and stores it if it can be unpacked. On return it is on disk to stay. A slug
    /// that is already stored is replaced by its equal, which mends it if it was damaged.
    pub fn commit(self) -> Result<Manifest, StoreError> {
        let Self { store, temp, .. } = self;
        let dir = &store.inner.dir;
        let failed = |source| store.write_error(source);
        let file = File::open(temp.path()).map_err(failed)?;
        let manifest = inspect(file, &store.inner.limits).map_err(StoreError::Refused)?;
        let json = serde_json::to_vec(&manifest).map_err(|error| failed(error.into()))?;

        let _changing = store.changing();
        // It took until now to arrive; its grace begins now.
        let times = FileTimes::new().set_modified(SystemTime::now());
        temp.as_file().set_times(times).map_err(failed)?;
        fs::atomic_write(&manifest_path(dir, &manifest.id), &json, 0o644).map_err(failed)?;
        fs::publish(temp.path(), &store.path(&manifest.id)).map_err(failed)?;
        // Renamed: there is nothing left to remove.
        drop(temp.into_temp_path().keep());
        Ok(manifest)
    }

    fn check_free(&mut self) -> Result<(), StoreError> {
        let stat = fstatvfs(&self.temp).map_err(|error| self.store.write_error(error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let floor = self.store.inner.free_floor_bytes;
        if free < floor.saturating_add(FREE_CHECK_BYTES) {
            return Err(StoreError::DiskFull { free, floor });
        }
        self.unchecked = FREE_CHECK_BYTES;
        Ok(())
    }
}

impl Write for Incoming {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.append(piece).map_err(io::Error::other)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.flush()
    }
}
