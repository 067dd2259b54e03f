//! First processes that wait in their berths for a dyno. They are there for one engine, and end
//! when it is gone.

use super::{Source, Spawner};
use crate::native::berths::BerthId;
use crate::native::cgroup::Membership;
use crate::native::container::{self, Inherited};
use crate::native::syscalls::{self, Cloned};
use crate::native::wire::{self, Failure, Report};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A first process without a dyno.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pid: u32,
    pub(super) process: OwnedFd,
    /// It hears there whose it is, and says how the start goes.
    pub(super) line: OwnedFd,
}

/// What is in a berth.
#[derive(Debug)]
pub(super) enum Manned {
    Waiting(Waiting),
    /// It ended, and this is why.
    Failed(Failure),
}

impl Spawner {
    /// Puts a first process into a berth.
    pub(super) fn prepare(
        &mut self,
        berth: BerthId,
        groups: &Membership,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let Some(network) = fds.into_iter().next() else {
            return Err(Failure { step: "take network".to_owned(), errno: libc::EBADF });
        };
        let (line, inside) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(Failure::at("make a line to the first process"))?;
        let (pid, process) = clone(groups, Inherited { line: inside, network }, &self.dir)?;
        if let Err(error) = self.watches.begin(&process, Source::Berth(berth)) {
            end_now(&process);
            return Err(Failure::at("keep track of first process")(error));
        }
        self.berths.insert(berth, Manned::Waiting(Waiting { pid, process, line }));
        Ok(())
    }

    /// The first process that waits in a berth, to be given a dyno; none when there is none.
    pub(super) fn take(&mut self, berth: BerthId) -> Result<Option<Waiting>, Failure> {
        match self.berths.remove(&berth) {
            None => Ok(None),
            Some(Manned::Failed(failure)) => Err(failure),
            Some(Manned::Waiting(waiting)) => {
                self.watches.end(&waiting.process);
                Ok(Some(waiting))
            }
        }
    }

    /// A first process has ended before it had a dyno. Only one that says why is remembered: the
    /// others were killed, and another one may fare better.
    pub(super) fn vacate(&mut self, berth: BerthId) {
        let Ok(Some(waiting)) = self.take(berth) else { return };
        end_now(&waiting.process);
        if let Some(failure) = last_word(&waiting.line) {
            self.berths.insert(berth, Manned::Failed(failure));
        }
    }

    /// The engine is gone: nobody knows any more what they wait for.
    pub(super) fn vacate_all(&mut self) {
        for (_, manned) in std::mem::take(&mut self.berths) {
            if let Manned::Waiting(waiting) = manned {
                self.watches.end(&waiting.process);
                end_now(&waiting.process);
            }
        }
    }
}

fn clone(groups: &Membership, inherited: Inherited, dir: &Path) -> Result<(u32, OwnedFd), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &PathBuf| rustix::fs::open(path, flags, Mode::empty());
    let group = groups.v2.as_ref().map(open).transpose();
    let group = group.map_err(Failure::at("open control group"))?;
    match syscalls::clone_container(group.as_ref().map(AsFd::as_fd))
        .map_err(Failure::at("make namespaces"))?
    {
        Cloned::Child => container::run(groups, inherited, dir),
        Cloned::Parent { pid, pidfd } => Ok((pid.as_raw().cast_unsigned(), pidfd)),
    }
}

/// Why a first process that has ended did so, if it has said it.
pub(super) fn last_word(line: &OwnedFd) -> Option<Failure> {
    match wire::receive(line) {
        Ok(Some((Report::Failed(failure), _))) => Some(failure),
        _ => None,
    }
}

/// Kills and reaps a first process without a dyno, so that its groups are empty afterwards.
pub(super) fn end_now(process: &OwnedFd) {
    // Both fail only when it is gone already.
    let _sent = rustix::process::pidfd_send_signal(process, Signal::KILL);
    let _reaped = rustix::process::waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
}
