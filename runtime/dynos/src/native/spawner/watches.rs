//! The descriptors the spawner waits for, and what each belongs to.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Events taken from the kernel at once.
const BATCH_MAX: usize = 64;

/// Descriptors by the source `S` they stand for.
///
/// The kernel is told a number that is never used again, not the descriptor's: a descriptor may
/// get the number of one that was closed a moment ago, and the kernel may still have word of that
/// one, in the same batch of events or because a process that was cloned meanwhile has a copy.
#[derive(Debug)]
pub(super) struct Watches<S> {
    epoll: Epoll,
    sources: HashMap<u64, S>,
    keys: HashMap<RawFd, u64>,
    next: u64,
}

/// Names one watch; of one that has ended it is no more than a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key(u64);

impl<S: Copy> Watches<S> {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, sources: HashMap::new(), keys: HashMap::new(), next: 0 })
    }

    /// Waits for `fd` to become readable or to end, from now on.
    pub(super) fn begin(&mut self, fd: impl AsFd, source: S) -> io::Result<()> {
        let number = fd.as_fd().as_raw_fd();
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, self.next))?;
        self.sources.insert(self.next, source);
        self.keys.insert(number, self.next);
        self.next += 1;
        Ok(())
    }

    /// To be called before `fd` is closed.
    pub(super) fn end(&mut self, fd: impl AsFd) {
        if let Some(key) = self.keys.remove(&fd.as_fd().as_raw_fd()) {
            self.sources.remove(&key);
            // Closing alone would not do while another process has a copy. It fails only when
            // nothing is watched.
            let _unwatched = self.epoll.delete(fd);
        }
    }

    /// Waits for something to happen; none after a signal or the time-out.
    pub(super) fn wait(&self, timeout: EpollTimeout) -> io::Result<Vec<Key>> {
        let mut events = [EpollEvent::empty(); BATCH_MAX];
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(nix::errno::Errno::EINTR) => 0,
            other => other?,
        };
        Ok(events[..count].iter().map(|event| Key(event.data())).collect())
    }

    /// What happened to whom; none when the watch has ended since.
    pub(super) fn source(&self, key: Key) -> Option<S> {
        self.sources.get(&key.0).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn word_of_a_closed_descriptor_is_not_taken_for_its_successors() {
        let mut watches = Watches::new().unwrap();
        let (first, mut writer) = UnixStream::pair().unwrap();
        let mut fd: OwnedFd = first.into();
        watches.begin(&fd, "first").unwrap();
        writer.write_all(b"x").unwrap();
        let happened = watches.wait(EpollTimeout::ZERO).unwrap();
        assert_eq!(happened.iter().filter_map(|key| watches.source(*key)).count(), 1);

        let copy = fd.try_clone().unwrap();
        watches.end(&fd);
        // Another socket under the same number; it is readable, for its other end is closed.
        rustix::io::dup2(UnixStream::pair().unwrap().0, &mut fd).unwrap();
        watches.begin(&fd, "second").unwrap();

        assert!(happened.iter().all(|key| watches.source(*key).is_none()), "in the same batch");
        let later = watches.wait(EpollTimeout::ZERO).unwrap();
        let later: Vec<_> = later.iter().filter_map(|key| watches.source(*key)).collect();
        assert_eq!(later, ["second"]);
        drop(copy);
    }
}
