//! One platform's process: started by this keeper, or by another one that was killed.

use crate::host::instance::{self, InstanceError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{WaitOptions, waitpid};
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

/// The flag by which a platform is told for which release it is started, and known again.
pub(super) const KEPT: &str = "--kept";
/// In the place of a release: the program that was started by hand or by a service manager.
pub const OWN: &str = "own";

/// It may be our child, also when this very process was another program when it was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pid: Pid,
}

impl Process {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let child = command.spawn()?;
        Ok(Self { pid: Pid::from_raw(child.id().cast_signed()) })
    }

    /// The one that an earlier keeper has left, and the release that it was started for.
    pub(super) fn find(data: &Path) -> Result<Option<(Self, String)>, InstanceError> {
        let Some(pid) = instance::holder(data)? else { return Ok(None) };
        let process = Self { pid: Pid::from_raw(pid) };
        // One that has ended meanwhile was started for nothing.
        let release = process.release().unwrap_or_default();
        Ok(Some((process, release)))
    }

    pub(super) fn pid(self) -> i32 {
        self.pid.as_raw()
    }

    /// For which it was started; none when it is no platform, or is none any more.
    fn release(self) -> Option<String> {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).ok()?;
        let mut words = line.split(|byte| *byte == 0).skip_while(|word| *word != KEPT.as_bytes());
        words.nth(1).map(|word| String::from_utf8_lossy(word).into_owned())
    }

    /// How it ended, if it has. Of somebody else's child nobody is told how.
    pub(super) fn ended(self, data: &Path) -> io::Result<Option<String>> {
        let pid = rustix::process::Pid::from_raw(self.pid.as_raw());
        match waitpid(pid, WaitOptions::NOHANG) {
            Ok(None) => Ok(None),
            Ok(Some((_, status))) => Ok(Some(ExitStatus::from_raw(status.as_raw()).to_string())),
            Err(rustix::io::Errno::CHILD) => {
                let holder = instance::holder(data).map_err(io::Error::other)?;
                // One that starts itself anew holds nothing for a moment.
                let is_there = holder == Some(self.pid.as_raw()) || self.release().is_some();
                Ok((!is_there).then(|| "nobody saw how".into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn signal(self, signal: Signal) {
        // It may have ended this very moment.
        kill(self.pid, signal).ok();
    }
}
