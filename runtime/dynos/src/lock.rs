//! The lock of an engine's directory: one engine at a time, until it or its process ends.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A program that the engine before was just starting has a copy of its lock, too, until it is
/// executed (flock(2)): whoever seems to hold it is given this long to let go.
const LETTING_GO: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(10);

/// The lock of this directory; none while another engine has it. May block for a moment.
pub(crate) fn take(dir: &Path) -> io::Result<Option<File>> {
    let lock = File::create(dir.join("engine.lock"))?;
    let until = Instant::now() + LETTING_GO;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(lock)),
            Err(Errno::WOULDBLOCK) if Instant::now() < until => sleep(AGAIN),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
