//! A file as memory: a number that is stored there outlives the process, without a call to the kernel.
#![expect(unsafe_code, reason = "memory that is a file is beyond what the language can vouch for")]

use rustix::fs::{FsWord, fstatfs};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::fs::File;
use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

/// File systems that keep a block where it is: those of ext, and tmpfs (statfs(2)). Others need room
/// for every block they write again, and end a process with SIGBUS that stores where there is none.
const IN_PLACE: [FsWord; 2] = [0xef53, 0x0102_1994];

#[derive(Debug)]
pub(crate) struct Mapped {
    start: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: the memory belongs to no thread, and is only used by atomic operations.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// The first `bytes` of a file that is open for reading and writing, however long it is by now.
    /// `None` where the file system makes no good memory, and where there is none to be had.
    pub(crate) fn of(file: &File, bytes: usize) -> Option<Self> {
        if !IN_PLACE.contains(&fstatfs(file).ok()?.f_type) {
            return None;
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping where the kernel likes, which no reference points into.
        let start = unsafe { mmap(null_mut(), bytes, access, MapFlags::SHARED, file, 0) };
        Some(Self { start: NonNull::new(start.ok()?.cast())?, bytes })
    }

    /// Stores a number at `at`, which is divisible by 8, and where the file has been written before:
    /// beyond its end there is no memory.
    pub(crate) fn store(&self, at: u64, number: u64) -> io::Result<()> {
        let place = usize::try_from(at).ok().filter(|at| {
            at.is_multiple_of(size_of::<u64>()) && at.saturating_add(size_of::<u64>()) <= self.bytes
        });
        let place = place.ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: inside of the mapping, which lives as long as `self`, and aligned, as its start is.
        unsafe { self.start.byte_add(place).as_ref() }.store(number, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it is what was mapped, and nobody has a reference into it.
        let _unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
