"""Every way out of a dyno that is known to have worked somewhere; prints `name<TAB>outcome` for each.

An outcome is the error by its symbol, `ALLOWED`, or what was seen. Nothing here may be ALLOWED. Of
files it is `refused`: whether one is absent or guarded depends on how the machine's kernel was built.
"""
import ctypes, errno, fcntl, os, resource, socket, struct

libc = ctypes.CDLL(None, use_errno=True)
NEW = {"cgroup": 0x02000000, "ipc": 0x08000000, "mnt": 0x00020000, "net": 0x40000000,
       "pid": 0x20000000, "time": 0x80, "user": 0x10000000, "uts": 0x04000000}
HERE = -100  # AT_FDCWD
GUARDED = (errno.EACCES, errno.ENOENT, errno.EPERM, errno.EROFS)
INHERITED = len(os.listdir("/proc/self/fd")) - 1  # one is the listing itself


def tell(name, outcome):
    print(name, outcome, sep="\t")


def call(name, number, *arguments):
    """A system call by its number: no library stands between, and none refuses first."""
    ctypes.set_errno(0)
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    tell(name, "ALLOWED" if result >= 0 else errno.errorcode[ctypes.get_errno()])


def attempt(name, action):
    try:
        action()
        tell(name, "ALLOWED")
    except OSError as error:
        tell(name, errno.errorcode[error.errno])
    except ValueError:
        tell(name, "EINVAL")  # how Python tells it of resource limits


def opens(name, path, flags):
    try:
        os.close(os.open(path, flags))
        tell(name, "ALLOWED")
    except OSError as error:
        tell(name, "refused" if error.errno in GUARDED else errno.errorcode[error.errno])


def reads(path):
    opens("read " + path, path, os.O_RDONLY)


def writes(path):
    opens("write " + path, path, os.O_WRONLY)


def makes(path):
    opens("make " + path, path, os.O_WRONLY | os.O_CREAT)


def shows(path):
    """Files that are there for everybody, and must be empty."""
    try:
        tell("show " + path, "%d bytes" % len(open(path, "rb").read(64)))
    except OSError as error:
        tell("show " + path, "0 bytes" if error.errno == errno.ENOENT else errno.errorcode[error.errno])


def mounts():
    call("mount tmpfs", 165, b"tmpfs", b"/tmp", b"tmpfs", 0, 0)
    call("mount proc", 165, b"proc", b"/tmp", b"proc", 0, 0)
    call("mount cgroup", 165, b"cgroup", b"/tmp", b"cgroup", 0, b"memory")
    call("mount bind", 165, b"/proc/1/root", b"/tmp", 0, 4096, 0)
    call("remount root writable", 165, 0, b"/", 0, 32, 0)
    call("umount2 /proc/sys", 166, b"/proc/sys", 2)
    call("umount2 /dev", 166, b"/dev", 2)
    call("pivot_root", 155, b".", b".")
    call("chroot", 161, b"/tmp")
    call("fsopen", 430, b"tmpfs", 0)
    call("fspick", 433, HERE, b"/", 0)
    call("open_tree", 428, HERE, b"/", 1)
    call("move_mount", 429, HERE, b"/tmp", HERE, b"/mnt", 0)
    call("mount_setattr", 442, HERE, b"/", 0, 0, 0)
    call("open_by_handle_at", 304, HERE, 0, 0)
    call("name_to_handle_at", 303, HERE, b"/", 0, 0, 0)
    call("quotactl", 179, 0, 0, 0, 0)
    call("swapon", 167, b"/tmp/swap", 0)


def namespaces():
    for name, flag in NEW.items():
        call("unshare " + name, 272, flag)
    for name in ("user", "net", "pid", "mnt"):
        call("clone " + name, 56, NEW[name] | 17, 0, 0, 0, 0)
    call("clone3", 435, 0, 0)
    call("setns of a namespace", 308, os.open("/proc/self/ns/net", os.O_RDONLY), 0)
    call("setns of process 1", 308, 0, NEW["mnt"])


def processes():
    call("ptrace attach process 1", 101, 16, 1, 0, 0)
    call("ptrace seize process 1", 101, 0x4206, 1, 0, 0)
    word = ctypes.create_string_buffer(8)
    place = struct.pack("PN", ctypes.addressof(word), 8)
    call("process_vm_readv process 1", 310, 1, place, 1, place, 1, 0)
    call("process_vm_writev process 1", 311, 1, place, 1, place, 1, 0)
    call("kcmp process 1", 312, 1, os.getpid(), 0, 3, 3)
    call("kill process 1", 62, 1, 9)
    call("move_pages process 1", 279, 1, 0, 0, 0, 0, 0)
    for name in ("mem", "environ", "maps", "stack", "syscall"):
        reads("/proc/1/" + name)
    for name in ("root", "cwd", "exe", "ns/mnt"):
        attempt("follow /proc/1/" + name, lambda: os.readlink("/proc/1/" + name))
    attempt("list /proc/1/fd", lambda: os.listdir("/proc/1/fd"))
    descriptor = os.pidfd_open(1)
    call("pidfd_getfd process 1", 438, descriptor, 0, 0)
    call("setns by pidfd of process 1", 308, descriptor, NEW["mnt"])
    seen = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    tell("processes seen", "own" if seen in ([1, os.getpid()], [1]) else "FOREIGN %s" % seen)


def kernel():
    call("init_module", 175, 0, 0, b"")
    call("finit_module", 313, 0, b"", 0)
    call("delete_module", 176, b"dummy", 0)
    call("kexec_load", 246, 0, 0, 0, 0)
    call("kexec_file_load", 320, 0, 0, 0, 0, 0)
    call("reboot", 169, 0xfee1dead, 672274793, 0, 0)
    call("bpf", 321, 0, 0, 0)
    call("perf_event_open", 298, 0, 0, -1, -1, 0)
    call("io_uring_setup", 425, 8, 0)
    call("userfaultfd", 323, 0)
    call("fanotify_init", 300, 0, 0)
    call("keyctl", 250, 0, -3, 0, 0, 0)
    call("add_key", 248, b"user", b"name", b"x", 1, -3)
    call("request_key", 249, b"user", b"name", 0, -3)
    call("syslog", 103, 3, 0, 0)
    call("acct", 163, b"/tmp/acct")
    call("sethostname", 170, b"other", 5)
    call("setdomainname", 171, b"other", 5)
    call("settimeofday", 164, 0, 0)
    call("clock_settime", 227, 0, 0)
    call("iopl", 172, 3)
    call("ioperm", 173, 0, 1, 1)
    call("modify_ldt", 154, 0, 0, 0)
    call("vhangup", 153)
    call("x32 getpid", 0x40000000 + 39)
    call("a call too new", 999)


def powers():
    attempt("setuid 0", lambda: os.setuid(0))
    attempt("setgid 0", lambda: os.setgid(0))
    attempt("setgroups 0", lambda: os.setgroups([0]))
    attempt("chown to root", lambda: os.chown("/app", 0, 0))
    call("capset all", 126, struct.pack("Ii", 0x20080522, 0), struct.pack("I", 0xFFFFFFFF) * 6)
    attempt("nice -20", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
    attempt("real-time scheduling", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
    for name in ("NOFILE", "CORE", "STACK"):
        limit = getattr(resource, "RLIMIT_" + name)
        soft, hard = resource.getrlimit(limit)
        attempt("raise RLIMIT_" + name, lambda: resource.setrlimit(limit, (soft, hard + 1)))
    attempt("oom_score_adj -1000", lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000"))


def devices():
    for kind, mode in (("block", 0o060000), ("character", 0o020000)):
        attempt("mknod " + kind, lambda: os.mknod("/tmp/node", 0o600 | mode, os.makedev(7, 0)))
    for name in ("console", "fuse", "kmsg", "kvm", "loop-control", "loop0", "mapper/control", "mem",
                 "net/tun", "nvme0", "port", "sda", "vda", "vhost-net", "vhost-vsock", "vsock"):
        reads("/dev/" + name)
    attempt("unlink /dev/null", lambda: os.unlink("/dev/null"))
    makes("/dev/own")


def files():
    for name in ("sysrq-trigger", "sys/kernel/core_pattern", "sys/kernel/modprobe", "sys/kernel/hostname",
                 "sys/kernel/yama/ptrace_scope", "sys/net/ipv4/ip_forward", "sys/vm/drop_caches",
                 "sys/fs/binfmt_misc/register", "irq/default_smp_affinity"):
        writes("/proc/" + name)
    for name in ("kcore", "keys", "latency_stats", "sched_debug", "timer_list", "acpi/wakeup", "scsi/scsi"):
        shows("/proc/" + name)
    for name in ("memory/memory.limit_in_bytes", "memory/cgroup.procs", "memory/release_agent",
                 "memory/notify_on_release", "devices/devices.allow", "pids/pids.max", "cgroup.procs",
                 "cgroup.subtree_control", "unified/cgroup.procs"):
        writes("/sys/fs/cgroup/" + name)
    attempt("make a cgroup", lambda: os.mkdir("/sys/fs/cgroup/memory/own"))
    for name in ("kernel/uevent_helper", "power/state", "kernel/security/lockdown", "kernel/debug/sleep_time"):
        writes("/sys/" + name)
    reads("/sys/firmware/acpi/tables/DSDT")
    for name in ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/usr/bin/bash"):
        writes(name)
    for name in ("/own", "/etc/own", "/usr/bin/own", "/proc/own", "/sys/own", "/root/own"):
        makes(name)


def sockets():
    attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
    attempt("raw socket 6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58))
    for name, number, kind in (("packet", 17, 3), ("alg", 38, 5), ("vsock", 40, 1), ("xdp", 44, 3), ("key", 15, 3),
                               ("bluetooth", 31, 3), ("can", 29, 3), ("rds", 21, 5), ("tipc", 30, 5), ("smc", 43, 1),
                               ("x25", 9, 5), ("nfc", 39, 5), ("kcm", 41, 2)):
        attempt("socket " + name, lambda: socket.socket(number, kind))
    # nlmsghdr and ifinfomsg: take the own cable down (RTM_NEWLINK, request and acknowledge).
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    index = socket.if_nametoindex("eth0")
    route.send(struct.pack("=IHHII", 32, 16, 5, 1, 0) + struct.pack("=BxHiII", 0, 0, index, 0, 1))
    code = -struct.unpack_from("=i", route.recv(4096), 16)[0]
    tell("take eth0 down", errno.errorcode[code] if code else "ALLOWED")
    attempt("audit messages", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9).bind((0, 1)))
    names = open("/proc/net/unix").read().split("@")[1:]
    tell("abstract sockets seen", len(names))
    read, write = os.openpty()
    attempt("type into a terminal (TIOCSTI)", lambda: fcntl.ioctl(write, 0x5412, b"x"))
    attempt("console selection (TIOCLINUX)", lambda: fcntl.ioctl(write, 0x541C, b"\x02"))


def state():
    for line in open("/proc/self/status"):
        if line.startswith(("Cap", "NoNewPrivs", "Seccomp:", "Groups")):
            name, value = line.split(":")
            tell(name, value.strip())
    tell("user", "%d %d %d" % os.getresuid())
    tell("group", "%d %d %d" % os.getresgid())
    tell("hard core limit", resource.getrlimit(resource.RLIMIT_CORE)[1])
    tell("uid map", " ".join(open("/proc/self/uid_map").read().split()))
    # Below /proc lie the empty files that cover what is not for dynos.
    own = [line.split() for line in open("/proc/self/mounts") if not line.split()[1].startswith("/proc/")]
    tell("mounts without nosuid", " ".join(line[1] for line in own if "nosuid" not in line[3].split(",")) or "none")
    tell("mounts without nodev", " ".join(sorted({line[1] for line in own if "nodev" not in line[3].split(",")})))
    tell("descriptors at the start", INHERITED)


for group in (mounts, namespaces, processes, kernel, powers, devices, files, sockets, state):
    group()
