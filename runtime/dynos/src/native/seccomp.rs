//! The system-call filter of every dyno: a flat BPF program, small enough to load in microseconds.

use super::syscalls;
use libc::{BPF_ABS, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{c_long, sock_filter};

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7;

/// The newest call that has been looked at (`file_setattr`, Linux 6.17). Newer ones, and the
/// x32 table above bit 30, do not exist for a dyno.
const NEWEST: u32 = 469;

/// Refused with EPERM, as Docker's default profile refuses them to an unprivileged container:
/// calls that only an administrator needs, and those through which the kernel has been attacked.
const REFUSED: &[c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
];

/// Absent, so that libraries take the way they take on an older kernel. The flags of `clone3`
/// lie in memory, where a filter cannot look: with `clone` it can.
const ABSENT: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

const NEW_NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | 0x80; // CLONE_NEWTIME

/// Socket families a dyno may use; each other one is an attack surface without a purpose.
const FAMILIES: &[i32] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
const EAFNOSUPPORT: u32 = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT.cast_unsigned();

/// Offsets in `struct seccomp_data`; arguments are 64 bits, low half first.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT_0: u32 = 16;
const ARGUMENT_1: u32 = 24;

/// Installs the filter for this process and all it starts. `no_new_privs` must be set.
pub(super) fn confine() -> nix::Result<()> {
    syscalls::load_filter(&program())
}

fn program() -> Vec<sock_filter> {
    let mut code = Vec::with_capacity(192);
    code.push(load(ARCHITECTURE));
    code.push(jump(BPF_JEQ, ARCH, 1, 0));
    code.push(answer(KILL));
    code.push(load(NUMBER));
    code.push(jump(BPF_JGT, NEWEST, 0, 1));
    code.push(answer(ENOSYS));
    for call in REFUSED {
        code.extend([jump(BPF_JEQ, number(*call), 0, 1), answer(EPERM)]);
    }
    for call in ABSENT {
        code.extend([jump(BPF_JEQ, number(*call), 0, 1), answer(ENOSYS)]);
    }
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        code.extend([
            jump(BPF_JEQ, number(call), 0, 4),
            load(ARGUMENT_0),
            jump(BPF_JSET, NEW_NAMESPACES.cast_unsigned(), 0, 1),
            answer(EPERM),
            answer(ALLOW),
        ]);
    }
    // TIOCSTI types into a terminal as its user would, TIOCLINUX does as much on a console.
    code.extend([
        jump(BPF_JEQ, number(libc::SYS_ioctl), 0, 5),
        load(ARGUMENT_1),
        jump(BPF_JEQ, 0x5412, 1, 0),
        jump(BPF_JEQ, 0x541C, 0, 1),
        answer(EPERM),
        answer(ALLOW),
    ]);
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        let families = FAMILIES.len();
        code.push(jump(BPF_JEQ, number(call), 0, families + 2));
        code.push(load(ARGUMENT_0));
        for (index, family) in FAMILIES.iter().enumerate() {
            code.push(jump(BPF_JEQ, family.cast_unsigned(), families - index, 0));
        }
        code.push(answer(EAFNOSUPPORT));
    }
    code.push(answer(ALLOW));
    code
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

fn jump(test: u32, value: u32, if_true: usize, if_false: usize) -> sock_filter {
    instruction(BPF_JMP | test | BPF_K, value, if_true, if_false)
}

fn answer(value: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, value, 0, 0)
}

fn instruction(code: u32, k: u32, if_true: usize, if_false: usize) -> sock_filter {
    // All codes and distances here are small constants.
    let byte = |distance: usize| u8::try_from(distance).unwrap_or(u8::MAX);
    sock_filter {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt: byte(if_true),
        jf: byte(if_false),
        k,
    }
}
