//! The control plane that runs on a data directory: finding it, and ending it.

use crate::config::Config;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why a control plane could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error("no platform runs on {}", data.display())]
    NotRunning { data: PathBuf },
    #[error("cannot signal process {pid}")]
    Signal {
        pid: i32,
        #[source]
        source: Errno,
    },
    #[error("process {pid} has not ended after {} seconds", waited.as_secs())]
    StillThere { pid: i32, waited: Duration },
    #[error("cannot {step} {}", path.display())]
    File {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl InstanceError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotRunning { .. } => {
                "Start it with `lathe up`, or name its directory: --data DIR.".into()
            }
            Self::Signal { .. } | Self::File { .. } => {
                "Do it as the user who started it, or as root.".into()
            }
            Self::StillThere { .. } => "See its log for what it waits for.".into(),
        }
    }
}

/// What shall become of the dynos when the control plane ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dynos {
    /// They go on serving; the next start adopts them.
    Stay,
    End,
}

impl Dynos {
    /// The signal by which a running platform is told.
    pub fn signal(self) -> Signal {
        match self {
            Self::Stay => Signal::SIGTERM,
            Self::End => Signal::SIGQUIT,
        }
    }
}

/// Ends the control plane that holds the data directory and waits until it is gone. One that has a
/// keeper is ended by it: it would be started again otherwise.
pub fn stop(config: &Config, dynos: Dynos, patience: Duration) -> Result<(), InstanceError> {
    let keeper = keeper_dir(&config.data);
    match end(&keeper, dynos, patience) {
        Err(InstanceError::NotRunning { .. }) => end(&config.data, dynos, patience),
        Ok(()) if holder(&config.data)?.is_some() => end(&config.data, dynos, patience),
        ended => ended,
    }
}

/// Where the keeper of a self-hosted platform has its lock, and all else.
pub fn keeper_dir(data: &Path) -> PathBuf {
    data.join("seat")
}

fn end(data: &Path, dynos: Dynos, patience: Duration) -> Result<(), InstanceError> {
    let started = Instant::now();
    let pid = loop {
        let Some(pid) = holder(data)? else {
            return Err(InstanceError::NotRunning { data: data.to_owned() });
        };
        match kill(Pid::from_raw(pid), dynos.signal()) {
            Ok(()) => break pid,
            // Killed while it was starting a process: that one has a copy of the lock until it is
            // executed.
            Err(Errno::ESRCH) if started.elapsed() < patience => std::thread::sleep(LOOK_AGAIN),
            Err(source) => return Err(InstanceError::Signal { pid, source }),
        }
    };
    let started = Instant::now();
    while holder(data)? == Some(pid) {
        if started.elapsed() > patience {
            return Err(InstanceError::StillThere { pid, waited: patience });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// The process that holds the lock of a data directory. A number in the file means nothing when
/// nobody holds the lock: it is a dead process's, and by now perhaps somebody else's.
pub fn holder(data: &Path) -> Result<Option<i32>, InstanceError> {
    let path = data.join("lock");
    let failed = |step, source| InstanceError::File { step, path: path.clone(), source };
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|source| failed("open", source))?,
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(None),
        Err((_, Errno::EWOULDBLOCK)) => {
            let text = fs::read_to_string(&path).map_err(|source| failed("read", source))?;
            Ok(text.trim().parse().ok().filter(|pid| *pid > 0))
        }
        Err((_, errno)) => Err(failed("lock", errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    #[test]
    fn stopping_what_does_not_run_says_so_and_signals_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults(&Surroundings::default());
        config.data = dir.path().to_path_buf();
        for _ in 0..2 {
            let error = stop(&config, Dynos::Stay, Duration::from_secs(1)).unwrap_err();
            assert!(matches!(error, InstanceError::NotRunning { .. }), "{error}");
            // Also when a process that is gone left its number behind.
            fs::write(dir.path().join("lock"), "1\n").unwrap();
        }
    }

    #[test]
    fn a_lock_that_outlives_its_holder_for_a_moment_is_nobody_s() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults(&Surroundings::default());
        config.data = dir.path().to_path_buf();
        let path = dir.path().join("lock");
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        fs::write(&path, gone.id().to_string()).unwrap();
        let held = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        let error = std::thread::scope(|scope| {
            let stopped = scope.spawn(|| stop(&config, Dynos::Stay, Duration::from_mins(1)));
            std::thread::sleep(LOOK_AGAIN * 2);
            drop(held);
            stopped.join().unwrap().unwrap_err()
        });
        assert!(matches!(error, InstanceError::NotRunning { .. }), "{error}");
    }

    #[test]
    fn who_holds_the_lock_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "4711\n").unwrap();
        let held = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        assert_eq!(holder(dir.path()).unwrap(), Some(4711));
        drop(held);
        // What another test is just starting has a copy of the lock until it is executed.
        while holder(dir.path()).unwrap().is_some() {
            std::thread::yield_now();
        }
    }
}
