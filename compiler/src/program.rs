//! Runs one program of a buildpack: no inherited environment, a deadline, bounded output, no one left behind.

use crate::job::Cancel;
use crate::processes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long what a program left in the background may still write, and how long it has to end
/// after SIGTERM. Output through a process substitution arrives after its program has exited.
const GRACE: Duration = Duration::from_secs(3);
/// How long a program may be busy before it is run, and how soon that is tried again.
const BUSY_MAX: Duration = Duration::from_secs(2);
const BUSY_AGAIN: Duration = Duration::from_millis(5);
/// How soon a cancelled build is noticed.
const TICK: Duration = Duration::from_millis(100);

/// When the build must be over, and whether anyone still wants it.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) deadline: Instant,
    pub(crate) cancel: Cancel,
}

impl Watch {
    pub(crate) fn new(timeout: Duration, cancel: Cancel) -> Self {
        Self { deadline: Instant::now() + timeout, cancel }
    }

    /// The same watch, but at most `limit` from now.
    pub(crate) fn at_most(&self, limit: Duration) -> Self {
        Self { deadline: self.deadline.min(Instant::now() + limit), cancel: self.cancel.clone() }
    }

    fn verdict(&self) -> Option<Ending> {
        if self.cancel.is_cancelled() {
            Some(Ending::Cancelled)
        } else {
            (Instant::now() >= self.deadline).then_some(Ending::TimedOut)
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(i32),
    Signaled(i32),
    TimedOut,
    Cancelled,
}

/// How a program that was watched ended, and what it was at when its time was over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) ending: Ending,
    /// Command lines; none of a program that ended by itself.
    pub(crate) at_work: Vec<String>,
}

/// A program and everything it may know of the world.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: &'a Path,
    pub(crate) args: Vec<OsString>,
    pub(crate) cwd: &'a Path,
    pub(crate) env: &'a BTreeMap<String, OsString>,
}

/// Output kept apart, each cut at its bound.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) ending: Ending,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// stdout was longer than was asked for.
    pub(crate) cut: bool,
}

impl Program<'_> {
    /// Runs it with both outputs in one stream, in the order they were written.
    pub(crate) fn stream(&self, watch: &Watch, mut out: impl FnMut(&[u8])) -> io::Result<Ended> {
        let (reader, writer) = io::pipe()?;
        let child = self.spawn(writer.try_clone()?, writer)?;
        attend(child, watch, &mut [(reader, &mut out)])
    }

    /// Runs it and keeps at most `bytes_max` of each output.
    pub(crate) fn capture(&self, watch: &Watch, bytes_max: usize) -> io::Result<Captured> {
        let (out_reader, out_writer) = io::pipe()?;
        let (err_reader, err_writer) = io::pipe()?;
        let child = self.spawn(out_writer, err_writer)?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let Ended { ending, .. } = attend(
            child,
            watch,
            &mut [
                (out_reader, &mut |bytes| append(&mut stdout, bytes, bytes_max + 1)),
                (err_reader, &mut |bytes| append(&mut stderr, bytes, bytes_max)),
            ],
        )?;
        let cut = stdout.len() > bytes_max;
        stdout.truncate(bytes_max);
        Ok(Captured { ending, stdout, stderr, cut })
    }

    fn spawn(&self, stdout: PipeWriter, stderr: PipeWriter) -> io::Result<Child> {
        let mut command = Command::new(self.path);
        command
            .args(&self.args)
            .current_dir(self.cwd)
            .env_clear()
            .envs(self.env)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0);
        // A program just written is busy while a process forked meanwhile, and not yet another
        // program, has the descriptor that wrote it (execve(2), ETXTBSY).
        let until = Instant::now() + BUSY_MAX;
        loop {
            match command.spawn() {
                Err(busy)
                    if busy.kind() == io::ErrorKind::ExecutableFileBusy
                        && Instant::now() < until =>
                {
                    thread::sleep(BUSY_AGAIN);
                }
                spawned => return spawned,
            }
        }
    }
}

fn append(kept: &mut Vec<u8>, bytes: &[u8], bytes_max: usize) {
    let room = bytes_max.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

type Stream<'a> = (PipeReader, &'a mut dyn FnMut(&[u8]));

/// Reads until the program has ended and its output with it, and ends its group in any case.
/// The leader is reaped last: until then its process group id cannot belong to anyone else.
fn attend(mut child: Child, watch: &Watch, streams: &mut [Stream<'_>]) -> io::Result<Ended> {
    let group = Pid::from_child(&child);
    let verdict = read_until_exit(group, watch, streams);
    let mut at_work = Vec::new();
    if matches!(verdict, Ok(Some(_))) {
        at_work = processes::at_work(group);
        let _ = kill_process_group(group, Signal::TERM);
    }
    let drained = drain(streams, Instant::now() + GRACE);
    let _ = kill_process_group(group, Signal::KILL);
    let status = child.wait()?;
    let verdict = verdict?;
    drained?;
    let ending = verdict.unwrap_or_else(|| {
        status
            .signal()
            .map_or_else(|| Ending::Exited(status.code().unwrap_or(-1)), Ending::Signaled)
    });
    Ok(Ended { ending, at_work })
}

/// `Some` when the program has to be ended before its time.
fn read_until_exit(
    leader: Pid,
    watch: &Watch,
    streams: &mut [Stream<'_>],
) -> io::Result<Option<Ending>> {
    let pidfd = pidfd_open(leader, PidfdFlags::empty())?;
    let mut open = vec![true; streams.len()];
    loop {
        if let Some(verdict) = watch.verdict() {
            return Ok(Some(verdict));
        }
        let wait = watch.deadline.saturating_duration_since(Instant::now()).min(TICK);
        let (ready, exited) = ready(streams, &open, Some(pidfd.as_fd()), wait)?;
        pump(streams, &mut open, &ready)?;
        if exited {
            return Ok(None);
        }
    }
}

fn drain(streams: &mut [Stream<'_>], until: Instant) -> io::Result<()> {
    let mut open = vec![true; streams.len()];
    while open.contains(&true) && Instant::now() < until {
        let wait = until.saturating_duration_since(Instant::now());
        let (ready, _) = ready(streams, &open, None, wait)?;
        pump(streams, &mut open, &ready)?;
    }
    Ok(())
}

/// Which streams can be read, and whether the leader has exited.
fn ready(
    streams: &[Stream<'_>],
    open: &[bool],
    leader: Option<std::os::fd::BorrowedFd<'_>>,
    wait: Duration,
) -> io::Result<(Vec<bool>, bool)> {
    let readers = streams.iter().zip(open).filter(|(_, open)| **open);
    let mut fds: Vec<PollFd<'_>> =
        readers.map(|((reader, _), _)| PollFd::new(reader, PollFlags::IN)).collect();
    fds.extend(leader.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let timeout =
        Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut results = fds.iter().map(|fd| !fd.revents().is_empty());
    let ready = open.iter().map(|open| *open && results.next().unwrap_or(false)).collect();
    Ok((ready, results.next().unwrap_or(false)))
}

fn pump(streams: &mut [Stream<'_>], open: &mut [bool], ready: &[bool]) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    for (index, (reader, sink)) in streams.iter_mut().enumerate() {
        if ready[index] {
            let count = reader.read(&mut buffer)?;
            open[index] = count > 0;
            sink(&buffer[..count]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell<'a>(script: &str, env: &'a BTreeMap<String, OsString>) -> Program<'a> {
        Program {
            path: Path::new("/bin/bash"),
            args: vec!["-c".into(), script.into()],
            cwd: Path::new("/"),
            env,
        }
    }

    fn watch(timeout: Duration) -> Watch {
        Watch::new(timeout, Cancel::default())
    }

    #[test]
    fn endings_and_output() {
        let env = BTreeMap::new();
        let long = watch(Duration::from_mins(1));
        let cases = [
            ("echo out; echo err >&2; exit 3", Ending::Exited(3), "out\n", "err\n"),
            ("kill -9 $$", Ending::Signaled(9), "", ""),
            ("echo late > >(sleep 0.05; cat)", Ending::Exited(0), "late\n", ""),
            ("echo ${HOME-none} ${LANG-none}", Ending::Exited(0), "none none\n", ""),
        ];
        for (script, ending, stdout, stderr) in cases {
            let seen = shell(script, &env).capture(&long, 100).unwrap();
            assert_eq!(seen.ending, ending, "{script}");
            assert_eq!(String::from_utf8_lossy(&seen.stdout), stdout, "{script}");
            assert_eq!(String::from_utf8_lossy(&seen.stderr), stderr, "{script}");
        }
    }

    #[test]
    fn one_stream_keeps_the_order() {
        let env = BTreeMap::new();
        let mut text = Vec::new();
        let script = "echo 1; echo 2 >&2; echo 3";
        let ending = shell(script, &env)
            .stream(&watch(Duration::from_mins(1)), |bytes| text.extend_from_slice(bytes));
        assert_eq!(ending.unwrap().ending, Ending::Exited(0));
        assert_eq!(text, b"1\n2\n3\n");
    }

    #[test]
    fn output_is_bounded() {
        let env = BTreeMap::new();
        let seen = shell("head -c 1000000 /dev/zero", &env)
            .capture(&watch(Duration::from_mins(1)), 1000)
            .unwrap();
        assert!(seen.cut);
        assert_eq!((seen.stdout.len(), seen.ending), (1000, Ending::Exited(0)));
    }

    #[test]
    fn a_deadline_ends_the_whole_group() {
        let env = BTreeMap::new();
        let started = Instant::now();
        let seen = shell("trap '' TERM; sleep 600 & echo $!; wait; sleep 600", &env)
            .capture(&watch(Duration::from_secs(3)), 100)
            .unwrap();
        assert_eq!(seen.ending, Ending::TimedOut);
        assert!(started.elapsed() < Duration::from_mins(1));
        let pid = String::from_utf8(seen.stdout).unwrap();
        assert!(!pid.trim().is_empty(), "it was ended before it had said a word");
        assert!(gone(pid.trim()), "{pid} still runs");
    }

    /// An orphan may stay a zombie for as long as nobody reaps it; it no longer runs.
    fn gone(pid: &str) -> bool {
        let deadline = Instant::now() + Duration::from_mins(1);
        while Instant::now() < deadline {
            match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) if !stat.contains(") Z") => thread::yield_now(),
                _ => return true,
            }
        }
        false
    }

    #[test]
    fn what_a_program_waited_for_is_known() {
        let env = BTreeMap::new();
        let ended = shell("sleep 61.7 & (sleep 61.8; true)", &env)
            .stream(&watch(Duration::from_secs(6)), |_| {})
            .unwrap();
        assert_eq!(ended.ending, Ending::TimedOut);
        let mut at_work = ended.at_work;
        at_work.sort();
        assert_eq!(at_work, ["sleep 61.7", "sleep 61.8"]);
    }

    #[test]
    fn a_cancelled_build_ends_soon() {
        let env = BTreeMap::new();
        let watch = watch(Duration::from_mins(1));
        watch.cancel.cancel();
        let seen = shell("sleep 600", &env).capture(&watch, 100).unwrap();
        assert_eq!(seen.ending, Ending::Cancelled);
    }

    #[test]
    fn a_daemon_holding_the_output_does_not_hold_the_build() {
        let env = BTreeMap::new();
        let started = Instant::now();
        // Until it has a session of its own it would be ended with the group.
        let script = "setsid sleep 600 & session=\n\
                      until [ \"$session\" = $! ]; do read -r _ _ _ _ _ session _ < /proc/$!/stat; done\n\
                      echo $!";
        let seen = shell(script, &env).capture(&watch(Duration::from_mins(5)), 100).unwrap();
        let daemon = String::from_utf8(seen.stdout).unwrap();
        let ended = Command::new("kill").arg(daemon.trim()).status().unwrap();
        assert!(ended.success(), "{daemon} does not run");
        assert_eq!(seen.ending, Ending::Exited(0));
        assert!(started.elapsed() < Duration::from_mins(1));
    }
}
