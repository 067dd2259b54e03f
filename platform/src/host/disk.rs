//! Room on a disk: what runs needs what there is.

use crate::config::Config;
use std::io;
use std::path::{Path, PathBuf};

/// So much may come before it is looked again whether there is room for more.
const LOOK_EVERY_BYTES: u64 = 16 << 20;

/// What users may still write to the disk of `path`, which must be there.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// What has to stay free of a disk while something comes to it from outside.
#[derive(Clone, Debug)]
pub(crate) struct Floor {
    place: PathBuf,
    bytes: u64,
    /// When so much had come.
    looked_at: u64,
}

/// Less is free than has to stay free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full {
    pub(crate) free_bytes: u64,
    pub(crate) floor_bytes: u64,
}

impl Floor {
    /// That of the platform's own disk.
    pub(crate) fn of(config: &Config) -> Self {
        Self::at(&config.data, config.free_disk_floor_bytes)
    }

    pub(crate) fn at(place: &Path, bytes: u64) -> Self {
        Self { place: place.to_owned(), bytes, looked_at: 0 }
    }

    /// Whether something may come. A disk that cannot be asked is not a full one.
    pub(crate) fn check(&self) -> Result<(), Full> {
        match free_bytes(&self.place) {
            Ok(free_bytes) if free_bytes < self.bytes => {
                Err(Full { free_bytes, floor_bytes: self.bytes })
            }
            _ => Ok(()),
        }
    }

    /// As `check`, now and then: others take from the disk, too. By now `bytes` have come.
    pub(crate) fn watch(&mut self, bytes: u64) -> Result<(), Full> {
        if bytes.saturating_sub(self.looked_at) < LOOK_EVERY_BYTES {
            return Ok(());
        }
        self.looked_at = bytes;
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_once_in_a_while_and_what_cannot_be_asked_is_not_full() {
        let mut full = Floor::at(Path::new("/"), u64::MAX);
        assert!(full.check().is_err_and(|full| full.floor_bytes == u64::MAX));
        assert_eq!(full.watch(LOOK_EVERY_BYTES - 1), Ok(()));
        assert!(full.watch(LOOK_EVERY_BYTES).is_err());
        assert_eq!(full.watch(LOOK_EVERY_BYTES + 1), Ok(()));
        assert!(full.watch(2 * LOOK_EVERY_BYTES).is_err());
        assert_eq!(Floor::at(Path::new("/"), 0).check(), Ok(()));
        assert_eq!(Floor::at(Path::new("/nowhere"), u64::MAX).check(), Ok(()));
    }
}
