//! The containers a spawner holds: taken over, watched, and reaped.

use super::{Source, Spawner};
use crate::native::container::kept_output;
use crate::native::record::{Files, Streams};
use crate::native::stream::Stream;
use crate::native::wire::{Failure, Message};
use crate::spec::DynoId;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// A container as the spawner knows it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) pid: u32,
    /// None when it was adopted dead.
    pub(super) process: Option<OwnedFd>,
    pub(super) output: Option<[Stream; 2]>,
    pub(super) status: Option<u8>,
    pub(super) starting: Option<Starting>,
}

/// A start that has not been answered yet.
#[derive(Debug)]
pub(super) struct Starting {
    pub(super) number: u64,
    pub(super) report: OwnedFd,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) failure: Option<Failure>,
}

impl Spawner {
    /// Takes over what an earlier spawner has started.
    pub(super) fn adopt(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for dyno in Files::all(&self.dir)? {
            let files = Files::of(&self.dir, dyno);
            let Some(pid) = files.pid() else { continue };
            let held = match files.running().map(|pid| adopt_running(pid, &files, now)) {
                Some(Ok(held)) => held,
                // It ended meanwhile, or long ago.
                Some(Err(_)) | None => Held {
                    pid,
                    process: None,
                    output: None,
                    status: Some(files.exit().unwrap_or(KILLED)),
                    starting: None,
                },
            };
            if let Some(process) = &held.process {
                self.watches.begin(process, Source::Process(dyno))?;
            }
            self.hold(dyno, held);
        }
        Ok(())
    }

    /// Takes a container in, whose output nobody reads yet.
    pub(super) fn hold(&mut self, dyno: DynoId, held: Held) {
        if held.output.is_some() && held.status.is_none() {
            self.unread.insert(dyno);
        }
        self.held.insert(dyno, held);
    }

    /// Lets go of a container; nothing is heard of it any more.
    pub(super) fn let_go(&mut self, dyno: DynoId) -> Option<Held> {
        self.unread.remove(&dyno);
        let held = self.held.remove(&dyno)?;
        let report = held.starting.as_ref().map(|starting| &starting.report);
        for fd in held.process.iter().chain(report) {
            self.watches.end(fd);
        }
        Some(held)
    }

    /// A container's first process has ended, and with it all others.
    pub(super) fn reap(&mut self, dyno: DynoId) {
        // What it said about its start comes before its end.
        while self.hear(dyno) {}
        self.settle(dyno);
        let Some(held) = self.held.get_mut(&dyno) else { return };
        let Some(process) = held.process.take() else { return };
        self.watches.end(&process);
        // It has ended; were it not so, waiting would hold up everybody.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = match rustix::process::waitid(WaitId::PidFd(process.as_fd()), options) {
            Ok(Some(status)) => exit_status(&status),
            // An adopted one is not our child: what it wrote down itself counts.
            Ok(None) | Err(_) => Files::of(&self.dir, dyno).exit().unwrap_or(KILLED),
        };
        held.status = Some(status);
        // It fills its pipes no further.
        self.unread.remove(&dyno);
        self.tell(&Message::Exited { dyno, status }, &[]);
    }
}

/// The status of a first process that left none: only SIGKILL ends it unheard.
const KILLED: u8 = 128 + 9;

fn exit_status(status: &WaitIdStatus) -> u8 {
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signalled).and_then(|code| u8::try_from(code).ok()).unwrap_or(KILLED)
}

/// Opens a running container's process and the pipes it keeps for such a case.
fn adopt_running(pid: u32, files: &Files, now: Instant) -> io::Result<Held> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    let process = rustix::process::pidfd_open(number, PidfdFlags::empty())?;
    // The number may have found a new owner before the descriptor was open.
    if files.running() != Some(pid) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let output = match files.record()?.streams {
        Streams::Logged => {
            match kept_output(pid) {
                Ok(ends) => Some(ends.map(|end| Stream::adopt(end, now))),
                Err(error) => {
                    // Its start was never finished, and nobody was told of it: as it counts as
                    // ended, it has to be.
                    let _sent = rustix::process::pidfd_send_signal(&process, Signal::KILL);
                    return Err(error);
                }
            }
        }
        Streams::Given | Streams::Terminal { .. } => None,
    };
    Ok(Held { pid, process: Some(process), output, status: None, starting: None })
}
