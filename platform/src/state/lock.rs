//! One platform a data directory: a lock that names its holder.

use super::StateError;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held for as long as it lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    pub fn take(dir: &Path) -> Result<Self, StateError> {
        let path = dir.join("lock");
        let key = |source| StateError::Key { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(key)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(key)?;
            return Err(StateError::Locked { path: dir.to_owned(), pid: pid.trim().to_owned() });
        }
        file.set_len(0).map_err(key)?;
        file.rewind().map_err(key)?;
        writeln!(file, "{}", std::process::id()).map_err(key)?;
        Ok(Self { _file: file })
    }
}
