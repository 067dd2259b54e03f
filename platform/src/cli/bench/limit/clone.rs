//! The one system call of the limit that has no safe form.
#![expect(unsafe_code, reason = "clone3 has no safe form")]

use nix::errno::Errno;
use nix::libc;
use nix::unistd::Pid;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A child in new namespaces, with `own_network` also in an empty network, in version 2 born in its group; none in the child.
///
/// Only for a single-threaded process: the child may then allocate and run any code.
pub(super) fn clone(group: Option<BorrowedFd<'_>>, own_network: bool) -> nix::Result<Option<Pid>> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let spaces = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    let spaces = if own_network { spaces | libc::CLONE_NEWNET } else { spaces };
    // SAFETY: all-zero bytes are a valid `clone_args`, which is plain integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = spaces.cast_unsigned().into();
    args.exit_signal = libc::SIGCHLD.cast_unsigned().into();
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: `args` lives through the call; without CLONE_VM the child has its own copy of
    // everything, stack included.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match Errno::result(pid)? {
        0 => Ok(None),
        pid => Ok(Some(Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?))),
    }
}

/// Ends a child whose start failed, running nothing of what it has copied.
pub(super) fn exit() -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(1) }
}
