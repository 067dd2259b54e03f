//! Room on the data directory's disk that is kept back for a start when all other is taken.
//!
//! A start writes little (its lock, where it listens, the spawner's records), but on a full disk
//! even that fails, and a platform that cannot start cannot be asked what fills the disk.

use crate::config::Config;
use crate::host::disk::free_bytes;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::io;
use std::path::{Path, PathBuf};

const RESERVE_BYTES: u64 = 4 << 20;
/// A start gets along with this.
const START_BYTES: u64 = 1 << 20;

fn path(config: &Config) -> PathBuf {
    config.data.join("reserve")
}

/// Gives the reserve up when there is no room to start; says whether the disk is full.
pub(super) fn give_up_if_full(config: &Config) -> bool {
    // What cannot be asked is not full: whatever is wrong shows at the first write.
    let full = free_bytes(&config.data).is_ok_and(|free| free < START_BYTES);
    if full {
        // Without one the start fails where it needs room, and says so.
        drop(std::fs::remove_file(path(config)));
    }
    full
}

/// Makes the reserve, unless it is there or there is not even room for a few of its size. It is for
/// bad times: without it everything works, until then.
pub(super) fn keep(config: &Config) {
    let path = path(config);
    let there = std::fs::metadata(&path).is_ok_and(|file| file.len() == RESERVE_BYTES);
    if there || !free_bytes(&config.data).is_ok_and(|free| free > 4 * RESERVE_BYTES) {
        return;
    }
    if let Err(error) = allocate(&path) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "no room could be kept back for a start on a full disk"
        );
        drop(std::fs::remove_file(&path));
    }
}

fn allocate(path: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
    Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, RESERVE_BYTES)?)
}
