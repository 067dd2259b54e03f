//! One control plane per data directory: the lock that says who it is, and how to end it.

use crate::config::Config;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why this process does not get, or cannot end, a data directory's control plane.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error("the data directory {} is in use by process {holder}", data.display())]
    Held { data: PathBuf, holder: String },
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
            Self::Held { .. } => {
                "Stop it with `lathe stop`, or give this one a directory of its own: --data DIR."
                    .into()
            }
            Self::NotRunning { .. } => {
                "Start it with `lathe up`, or name its directory: --data DIR.".into()
            }
            Self::Signal { .. } => "Do it as the user who started it, or as root.".into(),
            Self::StillThere { .. } => "See its log for what it waits for.".into(),
            Self::File { .. } => "Check that the path exists and that you may write there.".into(),
        }
    }
}

/// The right to run the control plane of a data directory; the kernel takes it back when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct Instance {
    _lock: Flock<File>,
}

impl Instance {
    /// Makes the data directory (for its user only) and takes it.
    pub fn claim(config: &Config) -> Result<Self, InstanceError> {
        let data = &config.data;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .map_err(|source| file_error("make", data, source))?;
        let path = lock_path(config);
        let mut lock = match try_lock(&path)? {
            Ok(lock) => lock,
            Err(holder) => return Err(InstanceError::Held { data: data.clone(), holder }),
        };
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(|source| file_error("write", &path, source))?;
        Ok(Self { _lock: lock })
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

/// Ends the control plane that holds the data directory and waits until it is gone.
pub fn stop(config: &Config, dynos: Dynos, patience: Duration) -> Result<(), InstanceError> {
    let not_running = || InstanceError::NotRunning { data: config.data.clone() };
    let path = lock_path(config);
    if !path.exists() {
        return Err(not_running());
    }
    let Err(holder) = try_lock(&path)? else {
        return Err(not_running());
    };
    let pid: i32 = holder.parse().map_err(|_| not_running())?;
    kill(Pid::from_raw(pid), dynos.signal())
        .map_err(|source| InstanceError::Signal { pid, source })?;
    let started = Instant::now();
    while try_lock(&path)?.is_err() {
        if started.elapsed() > patience {
            return Err(InstanceError::StillThere { pid, waited: patience });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn lock_path(config: &Config) -> PathBuf {
    config.data.join("lathe.lock")
}

/// The lock, or what its holder wrote into it.
fn try_lock(path: &Path) -> Result<Result<Flock<File>, String>, InstanceError> {
    // Not truncated: until the lock is ours, the content is its holder's.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| file_error("open", path, source))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Ok(lock)),
        Err((_, Errno::EWOULDBLOCK)) => {
            let text =
                fs::read_to_string(path).map_err(|source| file_error("read", path, source))?;
            Ok(Err(text.trim().to_owned()))
        }
        Err((_, errno)) => Err(file_error("lock", path, errno.into())),
    }
}

fn file_error(step: &'static str, path: &Path, source: io::Error) -> InstanceError {
    InstanceError::File { step, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    #[test]
    fn the_second_on_one_data_directory_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults(&Surroundings::default());
        config.data = dir.path().join("data");

        let first = Instance::claim(&config).unwrap();
        match Instance::claim(&config).unwrap_err() {
            InstanceError::Held { holder, .. } => {
                assert_eq!(holder, std::process::id().to_string());
            }
            other => panic!("{other}"),
        }
        drop(first);
        Instance::claim(&config).unwrap();
    }

    #[test]
    fn stopping_what_does_not_run_says_so_and_signals_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults(&Surroundings::default());
        config.data = dir.path().to_path_buf();
        for _ in 0..2 {
            let error = stop(&config, Dynos::Stay, Duration::from_secs(1)).unwrap_err();
            assert!(matches!(error, InstanceError::NotRunning { .. }), "{error}");
            // Also when a process that is gone left its number behind.
            fs::write(lock_path(&config), "1\n").unwrap();
        }
    }
}
