//! The system calls for which there is no safe wrapper.
#![expect(
    unsafe_code,
    reason = "clone3, fork and the fixed placing of descriptors have no safe form"
)]

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};
use rustix::fd::FromRawFd;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What `clone_container` returns: twice, like `fork`.
pub(super) enum Cloned {
    Parent { pid: Pid, pidfd: OwnedFd },
    Child,
}

/// A child in new namespaces but for its network, which it enters itself; on cgroup v2 born inside its group.
///
/// Only for a single-threaded process: the child may then allocate and run any code.
pub(super) fn clone_container(cgroup: Option<BorrowedFd<'_>>) -> nix::Result<Cloned> {
    let flags = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_PIDFD;
    let mut pidfd: RawFd = -1;
    // SAFETY: all-zero bytes are a valid `clone_args`, which is plain integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags.cast_unsigned().into();
    args.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    args.pidfd = (&raw mut pidfd) as u64;
    if let Some(cgroup) = cgroup {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: `args` and `pidfd` live through the call; without CLONE_VM the child has its own
    // copy of everything, stack included.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match Errno::result(pid)? {
        0 => Ok(Cloned::Child),
        pid => {
            let pid = Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?);
            // SAFETY: the kernel has just made this descriptor for us alone.
            Ok(Cloned::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
    }
}

/// `fork`, for a single-threaded process only.
pub(super) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the process has one thread, so that the child may run any code.
    unsafe { nix::unistd::fork() }
}

/// Puts `fds` at the numbers 0, 1, 2, … and closes all others, or (with `until_exec`) leaves
/// them open until the next program starts.
pub(super) fn place(fds: &[RawFd], until_exec: bool) -> nix::Result<()> {
    let count = RawFd::try_from(fds.len()).map_err(|_| Errno::EMFILE)?;
    let mut lifted = Vec::with_capacity(fds.len());
    for fd in fds {
        // Above all targets first, so that no descriptor is overwritten before it is placed.
        // SAFETY: fcntl with an integer argument touches no memory.
        let fd = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, count.max(192)) };
        lifted.push(Errno::result(fd)?);
    }
    for (target, fd) in (0..).zip(&lifted) {
        // SAFETY: whoever owned number `target` in this process does not run any more.
        Errno::result(unsafe { libc::dup2(*fd, target) })?;
    }
    let flags = if until_exec { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: as above.
    Errno::result(unsafe {
        libc::close_range(count.cast_unsigned(), u32::MAX, flags.cast_signed())
    })?;
    Ok(())
}

/// All signals as a new process expects them: default disposition, none blocked.
pub(super) fn reset_signals() -> nix::Result<()> {
    for signal in nix::sys::signal::Signal::iterator() {
        if !matches!(signal, nix::sys::signal::SIGKILL | nix::sys::signal::SIGSTOP) {
            // SAFETY: the default disposition runs no code of ours.
            unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }?;
        }
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()
}

/// Attaches a BPF program to this process and its children, for good.
pub(super) fn load_filter(filter: &[libc::sock_filter]) -> nix::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points at `len` instructions, which the kernel copies.
    Errno::result(unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    })?;
    Ok(())
}

/// The number of a loop device nobody uses; the kernel makes one when there is none.
pub(super) fn free_loop(control: BorrowedFd<'_>) -> nix::Result<i32> {
    const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
    // SAFETY: this ioctl takes no argument.
    Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })
}

/// Backs a loop device by `file`, until the device is closed and unmounted everywhere.
pub(super) fn configure_loop(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> nix::Result<()> {
    const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
    const LO_FLAGS_AUTOCLEAR: u32 = 4;
    /// `struct loop_config` of linux/loop.h: descriptor, block size, `loop_info64` (232 bytes,
    /// `lo_flags` at 52), reserved.
    #[repr(C, align(8))]
    struct Config([u8; 304]);
    let mut config = Config([0; 304]);
    config.0[..4].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
    config.0[60..64].copy_from_slice(&LO_FLAGS_AUTOCLEAR.to_ne_bytes());
    // SAFETY: the kernel reads exactly the 304 bytes of `struct loop_config`.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) })?;
    Ok(())
}

/// Ends this process at once.
pub(super) fn exit(status: i32) -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(status) }
}

/// The exit record where `place` has put it in the container's first process.
pub(super) fn adopt_exit_record() -> std::fs::File {
    const NUMBER: RawFd = 3;
    // SAFETY: `place` has just put the record there, and nothing else in this process owns it.
    unsafe { std::fs::File::from_raw_fd(NUMBER) }
}
