//! The life of a container's first process, from its birth in new namespaces to its exit.

use super::record::{Record, Streams};
use super::wire::{self, Failure, Report};
use super::{confine, launch, rootfs, syscalls};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use std::fs::File;
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What the first process has from the spawner.
#[derive(Debug)]
pub(super) struct Inherited {
    /// Where it says how the start went; closed when the program runs.
    pub(super) report: OwnedFd,
    /// Written once, with the status.
    pub(super) exit: File,
    /// stdin, stdout, stderr; empty for a terminal, which is made inside.
    pub(super) stdio: Vec<OwnedFd>,
    /// Read ends of stdout and stderr, held so that a dead spawner breaks no pipe.
    pub(super) output: Vec<OwnedFd>,
    pub(super) extra: Vec<OwnedFd>,
    /// Its network namespace.
    pub(super) network: OwnedFd,
}

/// Where a new spawner finds the output pipes of a container it did not start: descriptors of
/// the container's first process.
pub(super) const KEPT_OUTPUT: [u32; 2] = [4, 5];

/// Statuses of a first process that never had an app: nobody sees them but the spawner.
const NOT_STARTED: u8 = 1;
const BUG: u8 = 101;

/// Runs the container; never returns.
pub(super) fn run(record: &Record, inherited: Inherited, scratch: &Path) -> ! {
    // A bug here must not unwind into the spawner's loop, of which this process has a copy.
    let lived = AssertUnwindSafe(|| live(record, inherited, scratch));
    let status = catch_unwind(lived).unwrap_or(BUG);
    // No destructors, no buffers: this process is a copy of another one.
    syscalls::exit(status.into())
}

fn live(record: &Record, inherited: Inherited, scratch: &Path) -> u8 {
    // Out of the way of the numbers that the app's program will have.
    let report = rustix::io::fcntl_dupfd_cloexec(&inherited.report, 128);
    match start(record, inherited, scratch) {
        Ok((child, exit)) => {
            // `stay` has closed it, and this number may be another descriptor soon.
            let _closed = ManuallyDrop::new(report);
            tend(child, exit)
        }
        Err(failure) => {
            if let Ok(report) = report {
                // Nobody listens any more: then nobody waits for the reason either.
                drop(wire::send(report, &Report::Failed(failure), &[]));
            }
            NOT_STARTED
        }
    }
}

fn start(
    record: &Record,
    mut inherited: Inherited,
    scratch: &Path,
) -> Result<(Pid, File), Failure> {
    // A spawner that dies now will never know of this container: it shall not come to be.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(Failure::at("bind to spawner"))?;
    // What the container finds in its files is for its user to read, not to write.
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    join_cgroups(record)?;
    nix::sched::setns(&inherited.network, CloneFlags::CLONE_NEWNET)
        .map_err(Failure::at("enter network"))?;
    rootfs::build(record, scratch)?;
    if let Streams::Terminal { rows, columns } = record.streams {
        inherited.stdio = open_terminal(record.spec.uid, rows, columns, &inherited.report)?;
    }
    rootfs::enter()?;
    nix::unistd::sethostname(record.id.to_string()).map_err(Failure::at("set host name"))?;
    confine::forever()?;
    rustix::process::set_parent_process_death_signal(None)
        .map_err(Failure::at("release from spawner"))?;
    SigSet::all().thread_block().map_err(Failure::at("block signals"))?;
    match syscalls::fork().map_err(Failure::at("fork"))? {
        ForkResult::Child => {
            let terminal = matches!(record.streams, Streams::Terminal { .. });
            let files: Vec<OwnedFd> = inherited.stdio.into_iter().chain(inherited.extra).collect();
            Err(launch::execute(record, &files, terminal))
        }
        ForkResult::Parent { child } => {
            let exit = stay(inherited)?;
            Ok((child, exit))
        }
    }
}

/// On version 1 the process moves itself by `tasks`: moving another one by `cgroup.procs` waits
/// for every processor of the machine.
fn join_cgroups(record: &Record) -> Result<(), Failure> {
    for directory in &record.cgroup.v1 {
        let tasks = directory.join("tasks");
        File::options()
            .write(true)
            .open(&tasks)
            .and_then(|mut file| file.write_all(b"0"))
            .map_err(Failure::at(format!("join {}", directory.display())))?;
    }
    nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP).map_err(Failure::at("unshare control groups"))
}

/// Opens a terminal of the container's own; its master goes to the spawner.
fn open_terminal(
    uid: u32,
    rows: u16,
    columns: u16,
    report: &OwnedFd,
) -> Result<Vec<OwnedFd>, Failure> {
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
    wire::send(report, &Report::Terminal, &[master.as_fd()])
        .map_err(Failure::at("hand out terminal"))?;
    let copy = || user.try_clone().map_err(Failure::at("open terminal"));
    Ok(vec![copy()?, copy()?, user])
}

/// Keeps what the first process needs and closes everything else.
fn stay(inherited: Inherited) -> Result<File, Failure> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(Failure::at("open /dev/null"))?;
    let null = null.into_raw_fd();
    let mut kept = vec![null, null, null, inherited.exit.as_raw_fd()];
    kept.extend(inherited.output.iter().map(AsRawFd::as_raw_fd));
    syscalls::place(&kept, false).map_err(Failure::at("close descriptors"))?;
    // What stood behind these numbers is closed; dropping would close them a second time.
    let _closed = ManuallyDrop::new(inherited);
    Ok(syscalls::adopt_exit_record())
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
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => found = Some(code & 0xff),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                found = Some(128 + signal as i32);
            }
            Ok(WaitStatus::StillAlive) | Err(_) => break,
            Ok(_) => {}
        }
    }
    found.and_then(|status| u8::try_from(status).ok())
}
