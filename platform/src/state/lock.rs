//! One platform a data directory: a lock that names its holder.

use super::StateError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A program that a killed platform was just starting has a copy of its lock, too, until it is
/// executed (flock(2)): where the process that is named has gone, the lock will be let go of.
const LETTING_GO: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(10);

/// Held for as long as it lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct DataLock {
    file: File,
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
        let until = Instant::now() + LETTING_GO;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.rewind().and_then(|()| file.read_to_string(&mut pid)).map_err(key)?;
            let pid = pid.trim().to_owned();
            // Without a name it is nobody's yet: somebody looks whose it is, or has just taken it.
            let is_there = !pid.is_empty() && Path::new("/proc").join(&pid).exists();
            if Instant::now() > until || is_there {
                return Err(StateError::Locked { path: dir.to_owned(), pid });
            }
            sleep(AGAIN);
        }
        Self::name(file).map_err(key)
    }

    /// The lock that the program before has passed on, in the same process.
    pub fn inherit(dir: &Path, file: File) -> Result<Self, StateError> {
        let path = dir.join("lock");
        let inherited = || {
            let (ours, there) = (file.metadata()?, std::fs::metadata(&path)?);
            if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Self::name(file)
        };
        inherited().map_err(|source| StateError::Key { path: path.clone(), source })
    }

    fn name(mut file: File) -> io::Result<Self> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { file })
    }

    /// The next program of this process has it as the descriptor of this number. Until `keep`, so
    /// has whatever is started.
    pub fn pass_on(&self) -> io::Result<RawFd> {
        fcntl_setfd(&self.file, FdFlags::empty())?;
        Ok(self.file.as_raw_fd())
    }

    /// There is no next program.
    pub fn keep(&self) -> io::Result<()> {
        Ok(fcntl_setfd(&self.file, FdFlags::CLOEXEC)?)
    }
}
