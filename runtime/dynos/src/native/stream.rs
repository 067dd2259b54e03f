//! One output pipe of a dyno: kept open over the deaths of its readers, and kept from filling up
//! while it has none.

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What a dyno may say before somebody listens; older bytes make room for newer ones.
const CAPACITY_BYTES: usize = 256 << 10;

/// Above this a dyno might have to wait before the next look.
const FULL_BYTES: u64 = CAPACITY_BYTES as u64 / 2;

/// In one look: who writes as fast as it is read has to wait for the next one, not the spawner.
const READS_MAX: usize = 32;

/// How long the engine that reads what an earlier spawner has handed out may take to say so.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Stream {
    reader: OwnedFd,
    /// The engine reads it.
    claimed: bool,
    /// Until then it is left alone: somebody may be reading it.
    spared_until: Option<Instant>,
    dropped_bytes: u64,
}

impl Stream {
    /// A new pipe and its writing end.
    pub(super) fn open() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&reader, CAPACITY_BYTES)?;
        // Only the reading end never blocks: the writing end is the app's standard output.
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok((Self { reader, claimed: false, spared_until: None, dropped_bytes: 0 }, writer))
    }

    /// That of which another process has kept this end.
    pub(super) fn adopt(reader: OwnedFd, now: Instant) -> Self {
        Self { reader, claimed: false, spared_until: Some(now + PATIENCE), dropped_bytes: 0 }
    }

    pub(super) fn reader(&self) -> io::Result<OwnedFd> {
        self.reader.try_clone()
    }

    /// The engine takes over; returns the bytes lost before.
    pub(super) fn claim(&mut self) -> u64 {
        self.claimed = true;
        std::mem::take(&mut self.dropped_bytes)
    }

    pub(super) fn release(&mut self) {
        self.claimed = false;
    }

    /// Throws away the oldest bytes of a pipe that nobody reads and that fills up.
    pub(super) fn make_room(&mut self, now: Instant) {
        if self.claimed || self.spared_until.is_some_and(|until| now < until) {
            return;
        }
        let mut scratch = [0; 16 << 10];
        for _ in 0..READS_MAX {
            if !rustix::io::ioctl_fionread(&self.reader).is_ok_and(|waiting| waiting > FULL_BYTES) {
                return;
            }
            match rustix::io::read(&self.reader, &mut scratch) {
                Ok(bytes) if bytes > 0 => self.dropped_bytes += bytes as u64,
                _ => return,
            }
        }
    }
}
