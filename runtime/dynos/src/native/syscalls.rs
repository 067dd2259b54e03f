//! The system calls for which there is no safe wrapper.
#![expect(
    unsafe_code,
    reason = "clone3, fork and the fixed placing of descriptors have no safe form"
)]

use nix::errno::Errno;
use nix::unistd::Pid;
use rustix::fd::FromRawFd;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

/// Enough for what a child does until it executes its program, many times over.
const STACK_BYTES: usize = 256 << 10;

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

/// Runs `child` in a new process that has this one's memory, and returns when it has executed a
/// program or ended: copying the memory first would take longer than all the child does.
///
/// Only for a single-threaded process. The child may run any code but must own nothing that is
/// released when it executes its program; descriptors are its own copies.
pub(super) fn spawn_in_memory(mut child: &mut dyn FnMut()) -> nix::Result<Pid> {
    extern "C" fn enter(child: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the pointer below, which outlives this process's use of it.
        let child = unsafe { &mut *child.cast::<&mut dyn FnMut()>() };
        child();
        exit(0)
    }
    // Words, so that the stack's end is aligned as the processor wants it.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    let end = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: this process stands still until the child has left its memory, so that nothing else
    // runs in it meanwhile, and `stack` and `child` outlive the child's use of them.
    let pid = unsafe { libc::clone(enter, end.cast(), flags, (&raw mut child).cast()) };
    Errno::result(pid).map(Pid::from_raw)
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

/// Closes every descriptor of this process but `kept`, which come to lie behind the three standard
/// ones; those become `standard`, or stay what they are.
pub(super) fn keep_only(
    standard: Option<OwnedFd>,
    kept: Vec<OwnedFd>,
) -> nix::Result<Vec<OwnedFd>> {
    let standard = match standard.map(IntoRawFd::into_raw_fd) {
        Some(all) => [all; 3],
        None => [0, 1, 2],
    };
    let count = RawFd::try_from(kept.len()).map_err(|_| Errno::EMFILE)?;
    let kept = kept.into_iter().map(IntoRawFd::into_raw_fd);
    place(&standard.into_iter().chain(kept).collect::<Vec<_>>(), false)?;
    // SAFETY: `place` has just put them there, and nothing else in this process owns them.
    Ok((3..3 + count).map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}

/// Writes `text` to `range` of this process's memory, as far as there is room before a last zero,
/// and zeros behind it. The range must be that of the process's command line.
pub(super) fn overwrite_command_line(range: &Range<usize>, text: &[u8]) {
    let text = &text[..text.len().min(range.len().saturating_sub(1))];
    let start = std::ptr::with_exposed_provenance_mut::<u8>(range.start);
    // SAFETY: the kernel laid this writable range out for the arguments and has told where it
    // lies; this process has one thread, which reads its arguments no more.
    unsafe {
        start.write_bytes(0, range.len());
        start.copy_from_nonoverlapping(text.as_ptr(), text.len());
    }
}
