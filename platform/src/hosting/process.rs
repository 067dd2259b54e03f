//! One platform's process: started by this keeper, or by another one that was killed.

use crate::host::instance::{self, InstanceError};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command};

/// The flag by which a platform is told for which release it is started, and known again.
pub(super) const KEPT: &str = "--kept";
/// In the place of a release: the program that the keeper itself is.
pub(super) const OWN: &str = "own";

#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// None: it holds the data directory for as long as it lives, and its end has no status.
    child: Option<Child>,
}

impl Process {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let child = command.spawn()?;
        Ok(Self { pid: Pid::from_raw(child.id().cast_signed()), child: Some(child) })
    }

    /// The one that an earlier keeper has left, and the release that it was started for.
    pub(super) fn find(data: &Path) -> Result<Option<(Self, String)>, InstanceError> {
        let Some(pid) = instance::holder(data)? else { return Ok(None) };
        // One that has ended meanwhile was started for nothing.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).skip_while(|word| *word != KEPT.as_bytes());
        let release = words.nth(1).map(|word| String::from_utf8_lossy(word).into_owned());
        let process = Self { pid: Pid::from_raw(pid), child: None };
        Ok(Some((process, release.unwrap_or_default())))
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self, data: &Path) -> io::Result<Option<String>> {
        if let Some(child) = &mut self.child {
            return Ok(child.try_wait()?.map(|status| status.to_string()));
        }
        let holder = instance::holder(data).map_err(io::Error::other)?;
        if holder == Some(self.pid.as_raw()) {
            return Ok(None);
        }
        // It may be a child of this very process, which then was another program.
        waitpid(self.pid, Some(WaitPidFlag::WNOHANG)).ok();
        Ok(Some("nobody saw how".into()))
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It may have ended this very moment.
        kill(self.pid, signal).ok();
    }
}
