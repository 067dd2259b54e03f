//! Takes over a descriptor that this process was started with.

#![expect(unsafe_code, reason = "a descriptor's number says nothing about who owns it")]

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

/// The descriptor as a file, if it is open. Opening it anew through `/proc` would not do: the pipe
/// belongs to another user. Call it once for each number, before anything else opens files.
pub(super) fn take(descriptor: i32) -> io::Result<File> {
    std::fs::read_link(format!("/proc/self/fd/{descriptor}"))?;
    // SAFETY: it is open, it was when this process began, and nothing here has taken it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}
