//! One command inside a dyno that runs: a process of its own enters the dyno, has a child run it
//! there, as confined as the dyno is, and tells what came of it.

use super::cgroup::Membership;
use super::record::{Files, Record};
use super::wire::Failure;
use super::{confine, container, launch, syscalls};
use crate::containers::Ran;
use crate::output::last_words::LastWords;
use crate::spec::DynoId;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::{PidfdFlags, WaitOptions, pidfd_open, waitpid};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is read of a flood before somebody looks at the time again.
const GULP_BYTES: usize = 64 << 10;

/// Everything of the container but its processes, which only a child can come to be among.
const ROOMS: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// What a visitor is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Errand {
    pub(super) dyno: DynoId,
    pub(super) groups: Membership,
    pub(super) command: String,
    pub(super) at_most: Duration,
}

/// What it tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Ran { status: Option<u8>, last_line: String },
    Failed(Failure),
}

/// Does the errand that standard input has, for the engine of `dir`, and writes what came of it to
/// standard output. For a process of its own, with one thread.
pub fn run(dir: &Path) -> io::Result<()> {
    let errand: Errand = serde_json::from_reader(io::stdin().lock())?;
    let told = match visit(dir, &errand) {
        Ok(Ran { status, last_line }) => Told::Ran { status, last_line },
        Err(failure) => Told::Failed(failure),
    };
    Ok(serde_json::to_writer(io::stdout().lock(), &told)?)
}

fn visit(dir: &Path, errand: &Errand) -> Result<Ran, Failure> {
    let files = Files::of(dir, errand.dyno);
    let mut record = files.record().map_err(Failure::at("read record"))?;
    record.spec.command.clone_from(&errand.command);
    record.argv = None;
    let host = enter(&files)?;
    let (mut output, [out, err]) =
        pipe(record.spec.uid).map_err(Failure::at("make output pipe"))?;
    let null = File::open("/dev/null").map_err(Failure::at("open /dev/null"))?;
    let given = [null.into(), out, err];
    let mut failure = None;
    let mut child = || failure = Some(become_one(&record, errand, &host, &given));
    let child = syscalls::spawn_in_memory(&mut child).map_err(Failure::at("fork"))?;
    drop(given);
    let ran = attend(child, &mut output, errand.at_most);
    match failure {
        Some(failure) => Err(failure),
        None => ran,
    }
}

/// From now on this process's children are among the dyno's. Gives back the dyno's first process.
fn enter(files: &Files) -> Result<OwnedFd, Failure> {
    let gone = || Failure { step: "find the dyno".to_owned(), errno: libc::ESRCH };
    let pid = files.running().ok_or_else(gone)?;
    let raw = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).ok_or_else(gone)?;
    let first = pidfd_open(raw, PidfdFlags::empty()).map_err(Failure::at("find the dyno"))?;
    // Only now it is sure that the number was not another's by then.
    if files.running() != Some(pid) {
        return Err(gone());
    }
    setns(&first, CloneFlags::CLONE_NEWPID).map_err(Failure::at("enter the dyno"))?;
    Ok(first)
}

/// What the command says comes out of the first; the others are the dyno's own, as its output is.
fn pipe(uid: u32) -> io::Result<(File, [OwnedFd; 2])> {
    let (output, out) = io::pipe()?;
    std::os::unix::fs::fchown(&out, Some(uid), Some(uid))?;
    let output = File::from(OwnedFd::from(output));
    rustix::io::ioctl_fionbio(&output, true)?;
    Ok((output, [out.try_clone()?.into(), out.into()]))
}

/// The child, in memory that is the visitor's: returns only to say why it did not come to be the
/// command.
fn become_one(record: &Record, errand: &Errand, host: &OwnedFd, given: &[OwnedFd]) -> Failure {
    let entered = container::join_all(&errand.groups, record.own_cpuset.as_deref())
        .and_then(|()| setns(host, ROOMS).map_err(Failure::at("enter the dyno")))
        .and_then(|()| {
            rustix::process::umask(Mode::from_bits_truncate(0o022));
            confine::forever()
        })
        .and_then(|()| confine::when_built());
    match entered {
        Ok(()) => launch::execute(record, given, false),
        Err(failure) => failure,
    }
}

/// Waits for the command's end, and ends what it leaves in its session.
fn attend(child: Pid, output: &mut File, at_most: Duration) -> Result<Ran, Failure> {
    let raw = rustix::process::Pid::from_raw(child.as_raw());
    let raw = raw.ok_or_else(|| Failure { step: "wait".to_owned(), errno: libc::ESRCH })?;
    let process = pidfd_open(raw, PidfdFlags::empty()).map_err(Failure::at("wait"))?;
    let (mut words, mut open) = (LastWords::default(), true);
    let began = Instant::now();
    let in_time = loop {
        let left = at_most.saturating_sub(began.elapsed());
        if left.is_zero() {
            break false;
        }
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut fds =
            vec![PollFd::new(&process, PollFlags::IN), PollFd::new(&*output, PollFlags::IN)];
        fds.truncate(if open { 2 } else { 1 });
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))
            .map_err(Failure::at("wait"))?;
        let ended = fds.first().is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        open = open && listen(output, &mut words);
        if ended {
            break true;
        }
    };
    // Its number is its session's, and is nobody else's until it is waited for.
    let _gone = killpg(child, Signal::SIGKILL);
    let ended = waitpid(Some(raw), WaitOptions::empty()).map_err(Failure::at("wait"))?;
    let status = ended.and_then(|(_, ended)| container::status_of(ended));
    listen(output, &mut words);
    Ok(Ran { status: status.filter(|_| in_time), last_line: words.line() })
}

/// Takes in what there is, within reason; false when nothing comes any more.
fn listen(output: &mut File, words: &mut LastWords) -> bool {
    let mut piece = vec![0; 4096];
    let mut heard = 0;
    while heard < GULP_BYTES {
        match output.read(&mut piece) {
            Ok(0) => return false,
            Ok(bytes) => {
                words.hear(piece.get(..bytes).unwrap_or_default());
                heard += bytes;
            }
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}
