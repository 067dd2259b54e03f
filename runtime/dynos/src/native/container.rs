//! The life of a container's first process: born in new namespaces, it waits in its berth for a
//! dyno, starts it and tends it to its end.

use super::cgroup::Membership;
use super::record::{Files, Record, Streams};
use super::wire::{self, Boarded, Failure, Report};
use super::{confine, launch, rootfs, syscalls, title};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitOptions, WaitStatus};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::fs::{self, File};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What the first process has from the spawner when it is born.
#[derive(Debug)]
pub(super) struct Inherited {
    /// Where it hears whose it is and says how the start went; closed when the program runs.
    pub(super) line: OwnedFd,
    /// Its network namespace.
    pub(super) network: OwnedFd,
}

/// What the first process has when it knows its dyno.
#[derive(Debug)]
struct Aboard {
    record: Record,
    /// Written once, with the status.
    exit: File,
    /// The app's: stdin, stdout, stderr, unless they are a terminal, then the extra ones.
    files: Vec<OwnedFd>,
    /// Read ends of stdout and stderr, held so that a dead spawner breaks no pipe.
    output: Vec<OwnedFd>,
}

/// Where a new spawner finds the output pipes of a container it did not start: descriptors of
/// the container's first process.
const KEPT_OUTPUT: [u32; 2] = [4, 5];
/// Opens the read ends that the first process `pid` keeps.
pub(super) fn kept_output(pid: u32) -> io::Result<[OwnedFd; 2]> {
    let open = |fd: u32| {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok::<_, io::Error>(rustix::fs::open(format!("/proc/{pid}/fd/{fd}"), flags, Mode::empty())?)
    };
    let [stdout, stderr] = KEPT_OUTPUT;
    Ok([open(stdout)?, open(stderr)?])
}

/// No descriptor that is kept has a number as high.
const BEHIND_KEPT: i32 = 16;

/// Statuses of a first process that never had an app: nobody sees them but the spawner.
const NOT_STARTED: u8 = 1;
const BUG: u8 = 101;

/// Runs the container; never returns. `dir` is the engine's.
pub(super) fn run(groups: &Membership, inherited: Inherited, dir: &Path) -> ! {
    // A bug here must not unwind into the spawner's loop, of which this process has a copy.
    let lived = AssertUnwindSafe(|| live(groups, inherited, dir));
    let status = catch_unwind(lived).unwrap_or(BUG);
    // No destructors, no buffers: this process is a copy of another one.
    syscalls::exit(status.into())
}

fn live(groups: &Membership, inherited: Inherited, dir: &Path) -> u8 {
    let kept = syscalls::keep_only(None, vec![inherited.network, inherited.line]);
    let mut kept = kept.unwrap_or_default();
    let (Some(line), Some(network)) = (kept.pop(), kept.pop()) else { return NOT_STARTED };
    // `stay` closes it with everything else, and its number is another one's then.
    let line = ManuallyDrop::new(line);
    let started = prepare(groups, network, dir)
        .and_then(|()| wait(&line, dir))
        .and_then(|aboard| aboard.map(|aboard| start(aboard, &line)).transpose());
    match started {
        Ok(Some((child, exit))) => tend(child, exit),
        // Nobody will come any more.
        Ok(None) => NOT_STARTED,
        Err(failure) => {
            // Nobody listens any more: then nobody waits for the reason either.
            drop(wire::send(&*line, &Report::Failed(failure), &[]));
            NOT_STARTED
        }
    }
}

/// All that can be done before it is known for whom.
fn prepare(groups: &Membership, network: OwnedFd, dir: &Path) -> Result<(), Failure> {
    // A spawner that dies now will never know of this container: it shall not come to be.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(Failure::at("bind to spawner"))?;
    title::set("lathe: ready for a dyno");
    // What the container finds in its files is for its user to read, not to write.
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    groups.v1.iter().try_for_each(|group| join(group))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP)
        .map_err(Failure::at("unshare control groups"))?;
    nix::sched::setns(network, CloneFlags::CLONE_NEWNET).map_err(Failure::at("enter network"))?;
    rootfs::lay_out(&dir.join("scratch"))?;
    confine::forever()
}

/// As `prepare` does it for a container's first process, but into groups that are there.
pub(super) fn join_all(groups: &Membership, own_cpuset: Option<&Path>) -> Result<(), Failure> {
    groups.v1.iter().map(PathBuf::as_path).chain(own_cpuset).try_for_each(join)?;
    match &groups.v2 {
        Some(group) => fs::write(group.join("cgroup.procs"), "0")
            .map_err(Failure::at(format!("join {}", group.display()))),
        None => Ok(()),
    }
}

/// Moves this process. On version 1 it does so itself by `tasks`: moving another one by
/// `cgroup.procs` waits for every processor of the machine.
fn join(group: &Path) -> Result<(), Failure> {
    File::options()
        .write(true)
        .open(group.join("tasks"))
        .and_then(|mut file| file.write_all(b"0"))
        .map_err(Failure::at(format!("join {}", group.display())))
}

/// Waits for a dyno; none when the spawner is gone.
fn wait(line: &OwnedFd, dir: &Path) -> Result<Option<Aboard>, Failure> {
    let mut fds = [PollFd::new(line, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).map_err(Failure::at("wait for a dyno"))?;
    let received = wire::receive::<Boarded>(line).map_err(Failure::at("hear of a dyno"))?;
    let Some((Boarded { dyno, for_app }, mut files)) = received else { return Ok(None) };
    let record = Files::of(dir, dyno);
    let exit = record.open_exit()?;
    let record = record.record().map_err(Failure::at("read record"))?;
    let output = files.split_off(for_app.min(files.len()));
    Ok(Some(Aboard { record, exit, files, output }))
}

fn start(aboard: Aboard, line: &OwnedFd) -> Result<(Pid, File), Failure> {
    let Aboard { record, exit, mut files, output } = aboard;
    title::set(&format!("lathe: dyno {} of {}", record.spec.name, record.spec.app));
    record.grants.take_up(&mut files)?;
    record.own_cpuset.iter().try_for_each(|group| join(group))?;
    rootfs::build(&record)?;
    if let Streams::Terminal { rows, columns } = record.streams {
        let terminal = open_terminal(record.spec.uid, rows, columns, line)?;
        files.splice(0..0, terminal);
    }
    rootfs::enter()?;
    nix::unistd::sethostname(record.id.to_string()).map_err(Failure::at("set host name"))?;
    rustix::process::set_parent_process_death_signal(None)
        .map_err(Failure::at("release from spawner"))?;
    SigSet::all().thread_block().map_err(Failure::at("block signals"))?;
    confine::when_built()?;
    let terminal = matches!(record.streams, Streams::Terminal { .. });
    let mut failure = None;
    let mut execute = || failure = Some(launch::execute(&record, &files, terminal));
    let child = syscalls::spawn_in_memory(&mut execute).map_err(Failure::at("fork"))?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    drop(files);
    stay(exit, output, line).map(|exit| (child, exit))
}

/// Opens a terminal of the container's own; its master goes to the spawner.
fn open_terminal(
    uid: u32,
    rows: u16,
    columns: u16,
    line: &OwnedFd,
) -> Result<[OwnedFd; 3], Failure> {
    let master = rustix::fs::open(
        "root/dev/pts/ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(Failure::at("open terminal"))?;
    rustix::pty::unlockpt(&master).map_err(Failure::at("unlock terminal"))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let user =
        rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(Failure::at("open terminal"))?;
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size).map_err(Failure::at("set window size"))?;
    std::os::unix::fs::fchown(&user, Some(uid), Some(uid))
        .map_err(Failure::at("give terminal away"))?;
    wire::send(line, &Report::Terminal, &[master.as_fd()])
        .map_err(Failure::at("hand out terminal"))?;
    let copy = || user.try_clone().map_err(Failure::at("open terminal"));
    Ok([copy()?, copy()?, user])
}

/// Keeps what the first process needs and closes everything else; the spawner hears it by that.
fn stay(exit: File, output: Vec<OwnedFd>, line: &OwnedFd) -> Result<File, Failure> {
    // What is kept may come to lie where the line is. The line must be the last to close: who hears
    // of the start may die, and the next one looks for what is kept.
    let held = rustix::io::fcntl_dupfd_cloexec(line, BEHIND_KEPT);
    let _closed_with_the_others = held.map_err(Failure::at("hold line"))?.into_raw_fd();
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(Failure::at("open /dev/null"))?;
    let kept = std::iter::once(exit.into()).chain(output).collect();
    let kept = syscalls::keep_only(Some(null.into()), kept);
    let mut kept = kept.map_err(Failure::at("close descriptors"))?.into_iter();
    let exit = kept.next().map(File::from);
    for output in kept {
        // Open for as long as this process lives.
        let _number = output.into_raw_fd();
    }
    exit.ok_or_else(|| Failure { step: "keep exit record".to_owned(), errno: libc::EBADF })
}

/// Process number 1: reaps whatever ends, passes every signal on to all, and when the dyno's own
/// process ends, writes down its status and ends too, which ends the rest.
fn tend(child: Pid, mut exit: File) -> u8 {
    if confine::first_process().is_err() {
        return 1;
    }
    let all = SigSet::all();
    loop {
        match all.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(status) = reap(child) {
                    // A full disk must not keep the dyno from ending; the parent sees it too.
                    drop(exit.write_all(format!("{status}\n").as_bytes()));
                    return status;
                }
            }
            Ok(signal) => drop(kill(Pid::from_raw(-1), signal)),
            // A real-time signal: nobody but the host could have sent it.
            Err(_) => {}
        }
    }
}

/// Collects all ended processes; the status if the dyno's own is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut found = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid.as_raw_pid() == child.as_raw() {
            found = status_of(status);
        }
    }
    found
}

/// As a shell has it: 128 and more for a signal, which may be a real-time one, too.
pub(super) fn status_of(ended: WaitStatus) -> Option<u8> {
    let signal = || ended.terminating_signal().map(|signal| 128 + signal);
    ended.exit_status().or_else(signal).and_then(|status| u8::try_from(status).ok())
}
