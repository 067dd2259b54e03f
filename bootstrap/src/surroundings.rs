//! What is around a stage and must not matter to a single byte of its slug.

use nix::errno::Errno;
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, sethostname};
use serde::Serialize;
use std::fmt;
use std::io;
use std::process::{Child, Command};
use std::thread;

/// What of a stage is unlike the other stages. The wall clock is not among it: every stage has its own
/// by coming later. Nor is the order of directories: each build's disk is a new ext4, which orders
/// names by a secret of its own.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Surroundings {
    pub hostname: Option<String>,
    pub umask: Option<u32>,
    pub time_zone: Option<String>,
    pub language: Option<String>,
    /// Of those we may use; none: all.
    pub cpus: Option<usize>,
    /// Apps made before the one that is built: each app has a user of its own, the next free one.
    pub apps_before: u32,
}

/// Why a program could not be given its surroundings.
#[derive(Debug, thiserror::Error)]
pub enum SurroundingsError {
    #[error("cannot change the {what}")]
    Change {
        what: &'static str,
        #[source]
        source: Errno,
    },
    #[error("cannot start it")]
    Spawn(#[source] io::Error),
    #[error("the thread that starts it has ended")]
    Thread,
}

impl Surroundings {
    /// Those of a stage that differs from its neighbours in everything; the first stays as it is.
    pub(crate) fn perturbed(stage: u32) -> Self {
        let some = |text: &str| Some(text.to_owned());
        match stage {
            0 | 1 => Self::default(),
            stage if stage % 2 == 0 => Self {
                hostname: some("even-stage"),
                umask: Some(0o077),
                time_zone: some("Asia/Kathmandu"),
                language: some("tr_TR.UTF-8"),
                cpus: Some(1),
                apps_before: 5 * stage,
            },
            stage => Self {
                hostname: some("odd.stage.example.org"),
                umask: Some(0o002),
                time_zone: some("America/St_Johns"),
                language: some("C"),
                cpus: None,
                apps_before: 5 * stage,
            },
        }
    }

    /// Starts a program in them. On a thread of its own, which takes its changes along when it ends.
    pub(crate) fn spawn(&self, mut command: Command) -> Result<Child, SurroundingsError> {
        command.envs(self.time_zone.iter().map(|zone| ("TZ", zone)));
        command.envs(self.language.iter().map(|language| ("LANG", language)));
        thread::scope(|threads| {
            let started = threads.spawn(|| {
                self.enter()?;
                command.spawn().map_err(SurroundingsError::Spawn)
            });
            started.join().unwrap_or(Err(SurroundingsError::Thread))
        })
    }

    fn enter(&self) -> Result<(), SurroundingsError> {
        let failed = |what| move |source| SurroundingsError::Change { what, source };
        if let Some(name) = &self.hostname {
            unshare(CloneFlags::CLONE_NEWUTS).map_err(failed("hostname"))?;
            sethostname(name).map_err(failed("hostname"))?;
        }
        if let Some(mask) = self.umask {
            // The umask is shared by all threads otherwise.
            unshare(CloneFlags::CLONE_FS).map_err(failed("umask"))?;
            umask(Mode::from_bits_truncate(mask));
        }
        if let Some(count) = self.cpus {
            let thread = Pid::from_raw(0);
            let mine = sched_getaffinity(thread).map_err(failed("CPUs"))?;
            let mut fewer = CpuSet::new();
            let usable = (0..CpuSet::count()).filter(|cpu| mine.is_set(*cpu).unwrap_or_default());
            for cpu in usable.take(count) {
                fewer.set(cpu).map_err(failed("CPUs"))?;
            }
            sched_setaffinity(thread, &fewer).map_err(failed("CPUs"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("as they are");
        }
        let mask = self.umask.map(|mask| format!("{mask:03o}"));
        let cpus = self.cpus.map(|count| count.to_string());
        let texts = [
            ("hostname", &self.hostname),
            ("umask", &mask),
            ("TZ", &self.time_zone),
            ("LANG", &self.language),
            ("CPUs", &cpus),
        ];
        for (name, text) in texts {
            write!(f, "{name} {}, ", text.as_deref().unwrap_or("all"))?;
        }
        write!(f, "build user +{}", self.apps_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn neighbours_differ_in_everything() {
        for stage in 1..5 {
            let (one, next) = (Surroundings::perturbed(stage), Surroundings::perturbed(stage + 1));
            assert_ne!(one.hostname, next.hostname);
            assert_ne!(one.umask, next.umask);
            assert_ne!(one.time_zone, next.time_zone);
            assert_ne!(one.language, next.language);
            assert_ne!(one.cpus, next.cpus);
            assert_ne!(one.apps_before, next.apps_before);
        }
    }

    #[test]
    fn a_program_is_surrounded_and_we_are_not() {
        let ours = (nix::unistd::gethostname().unwrap(), umask(Mode::from_bits_truncate(0o022)));
        umask(ours.1);
        let mut command = Command::new("sh");
        command.args(["-c", "uname -n; umask; echo $TZ; nproc"]).stdout(Stdio::piped());
        let child = Surroundings::perturbed(2).spawn(command).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(said, "even-stage\n0077\nAsia/Kathmandu\n1\n");
        assert_eq!(nix::unistd::gethostname().unwrap(), ours.0);
        assert_eq!(umask(ours.1), ours.1);
    }
}
