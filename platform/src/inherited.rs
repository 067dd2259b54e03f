//! Descriptors that a dyno's program was started with.
#![expect(unsafe_code, reason = "a number is all that a process is given of a descriptor")]

use rustix::io::{FdFlags, fcntl_setfd};
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};

/// After the standard streams.
const FIRST: RawFd = 3;

/// Takes over those that a build dyno or a router's is given beside its standard streams, as many as
/// there are. To be called once, before this process opens anything.
///
/// What it starts must not have them: a program that stays behind would keep them open, and one
/// that a build runs could say by them that it has built something.
pub(crate) fn take<const COUNT: usize>() -> io::Result<[File; COUNT]> {
    let files = (FIRST..).take(COUNT).map(take_one).collect::<io::Result<Vec<_>>>()?;
    files.try_into().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The one that a keeper has from the program that this process was before. As `take`.
pub(crate) fn one(fd: RawFd) -> io::Result<File> {
    take_one(fd)
}

fn take_one(fd: RawFd) -> io::Result<File> {
    // SAFETY: called for the numbers above alone, at the very start of a program that was given them;
    // nothing else in it owns them. One that is not open is told by the next call.
    let file = unsafe { File::from_raw_fd(fd) };
    match fcntl_setfd(&file, FdFlags::CLOEXEC) {
        Ok(()) => Ok(file),
        Err(error) => {
            // Nothing to close.
            let _: RawFd = file.into_raw_fd();
            Err(error.into())
        }
    }
}
