//! What a dyno must not be able to do, tried by a program that reports each result.

use super::world::World;

/// Name and outcome a line; everything here is refused, each with its own error.
const PROBE: &str = r#"
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
    ctypes.set_errno(0)
    if libc.syscall(number, *arguments) >= 0: print(name, "ALLOWED")
    else: print(name, os.strerror(ctypes.get_errno()))
def attempt(name, action):
    try: action(); print(name, "ALLOWED")
    except FileNotFoundError: print(name, "refused")
    except PermissionError: print(name, "refused")
    except OSError as error: print(name, "refused" if error.errno in (30, 97) else error.strerror)
call("mount", 165, b"tmpfs", b"/tmp", b"tmpfs", 0, 0)
call("unshare-user", 272, 0x10000000)
call("clone-user", 56, 0x10000000 | 17, 0, 0, 0, 0)
call("clone3", 435, 0, 0)
call("setns", 308, 0, 0)
call("keyctl", 250, 0, -3, 0, 0, 0)
call("bpf", 321, 0, 0, 0)
call("perf", 298, 0, 0, -1, -1, 0)
call("io_uring", 425, 8, 0)
call("userfaultfd", 323, 0)
call("open_by_handle", 304, -100, 0, 0)
call("syslog", 103, 3, 0, 0)
call("ptrace-init", 101, 16, 1, 0, 0)
call("kill-init", 62, 1, 9)
call("x32", 0x40000000 + 39)
call("too-new", 999)
call("chroot", 161, b"/tmp")
attempt("mknod", lambda: os.mknod("/app/sda", 0o600 | 0o060000, os.makedev(7, 0)))
attempt("sysrq", lambda: open("/proc/sysrq-trigger", "w"))
attempt("core-pattern", lambda: open("/proc/sys/kernel/core_pattern", "w"))
attempt("cgroup", lambda: open("/sys/fs/cgroup/memory/memory.limit_in_bytes", "w"))
attempt("release-agent", lambda: open("/sys/fs/cgroup/memory/release_agent"))
attempt("kvm", lambda: open("/dev/kvm"))
attempt("disk", lambda: open("/dev/loop0"))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("alg", lambda: socket.socket(38, 5))
attempt("vsock", lambda: socket.socket(40, 1))
attempt("root", lambda: os.setuid(0))
attempt("init-memory", lambda: open("/proc/1/mem"))
attempt("init-environment", lambda: open("/proc/1/environ"))
attempt("init-descriptors", lambda: os.listdir("/proc/1/fd"))
attempt("passwd", lambda: open("/etc/passwd", "a"))
attempt("resolv", lambda: open("/etc/resolv.conf", "w"))
attempt("device", lambda: os.unlink("/dev/null"))
attempt("oom", lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000"))
for name in ("kcore", "keys", "timer_list"):
    try: print(name, len(open("/proc/" + name, "rb").read(64)))
    except FileNotFoundError: print(name, 0)
for line in open("/proc/self/status"):
    if line.startswith(("CapPrm", "CapBnd", "CapEff", "CapAmb", "CapInh", "NoNewPrivs", "Seccomp:", "Groups")):
        print(" ".join(line.split()))
print("processes", sorted(int(p) for p in os.listdir("/proc") if p.isdigit())[0])
print("mounts", open("/proc/self/mounts").read().count(" / "))
"#;

const EXPECTED: &str = "\
mount Operation not permitted
unshare-user Operation not permitted
clone-user Operation not permitted
clone3 Function not implemented
setns Operation not permitted
keyctl Operation not permitted
bpf Operation not permitted
perf Operation not permitted
io_uring Function not implemented
userfaultfd Operation not permitted
open_by_handle Operation not permitted
syslog Operation not permitted
ptrace-init Operation not permitted
kill-init Operation not permitted
x32 Function not implemented
too-new Function not implemented
chroot Operation not permitted
mknod refused
sysrq refused
core-pattern refused
cgroup refused
release-agent refused
kvm refused
disk refused
raw refused
packet refused
alg refused
vsock refused
root refused
init-memory refused
init-environment refused
init-descriptors refused
passwd refused
resolv refused
device refused
oom refused
kcore 0
keys 0
timer_list 0
Groups: 20001
CapInh: 0000000000000000
CapPrm: 0000000000000000
CapEff: 0000000000000000
CapBnd: 0000000000000000
CapAmb: 0000000000000000
NoNewPrivs: 1
Seccomp: 2
processes 1
mounts 1
";

#[tokio::test]
async fn every_way_out_is_closed() {
    let world = World::new().await;
    let mut start = world.start_of("");
    start.argv = Some(["python3", "-c", PROBE].map(str::to_owned).to_vec());
    let (text, ended) = world.run_start(start).await;
    assert_eq!(text, EXPECTED);
    assert_eq!(ended.status, 0);
    world.close().await;
}
