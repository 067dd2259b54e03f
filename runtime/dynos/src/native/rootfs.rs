//! A container's file system: everything is mounted in its own namespace, so that nothing is
//! left on the host however it ends.

use super::image;
use super::record::Record;
use super::wire::Failure;
use crate::containers::{Mount, MountSource};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, pivot_root};
use rustix::fs::{AtFlags, Gid, OFlags, ResolveFlags, Uid, mkdirat, openat2};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

const SHARED_MEMORY_BYTES: u64 = 64 << 20;

/// Files of `/proc` that speak of the whole machine: an empty file covers them.
const MASKED: &[&str] = &["kcore", "keys", "latency_stats", "sched_debug", "timer_list"];

/// Directories of `/proc` that configure the machine: an empty directory covers them.
const HIDDEN: &[&str] = &["acpi", "scsi"];

/// Places in `/proc` that are for reading only.
const READ_ONLY: &[&str] = &["bus", "fs", "irq", "sys", "sysrq-trigger"];

const QUIET: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// An empty directory, and where what is hidden is covered by it.
const NOTHING: &str = "nothing";

/// What the kernel shows of itself: mounted ahead beside the root, and moved into it.
const SYSTEM: [&str; 3] = ["proc", "dev", "sys"];

/// The memory limit as a dyno of cgroup version 1 would see it.
const MEMORY: &str = "fs/cgroup/memory";

/// Lays out under `scratch` what does not depend on the dyno. All containers share that empty
/// directory because each mounts over it in its own namespace, and the working directory is left
/// there.
///
/// Each file system is one more for which the kernel keeps accounts in the memory group of every
/// dyno: what can be a directory of the writable layer is none of its own.
pub(super) fn lay_out(scratch: &Path) -> Result<(), Failure> {
    let none = None::<&Path>;
    // What the host mounts and unmounts meanwhile holds here, too, but nothing gets back there.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
        .map_err(Failure::at("part from the host's mounts"))?;
    mount(Some("tmpfs"), scratch, Some("tmpfs"), QUIET, Some("mode=755"))
        .map_err(Failure::at("mount writable layer"))?;
    chdir(scratch).map_err(Failure::at("enter writable layer"))?;
    for directory in ["root", "work", NOTHING].into_iter().chain(SYSTEM) {
        fs::create_dir(directory).map_err(Failure::at("make writable layer"))?;
    }
    mount_proc()?;
    mount_dev().map_err(Failure::at("mount /dev"))?;
    mount_sys().map_err(Failure::at("mount /sys"))
}

/// Makes the dyno's root of what is laid out.
pub(super) fn build(record: &Record) -> Result<(), Failure> {
    let none = None::<&str>;
    let class = &record.spec.class;
    let options = format!("size={},nr_inodes={}", class.disk_bytes, class.files_max());
    mount(none, ".", none, MsFlags::MS_REMOUNT | QUIET, Some(options.as_str()))
        .map_err(Failure::at("bound writable layer"))?;
    write_upper(record).map_err(Failure::at("fill writable layer"))?;
    mount_overlay(record)?;
    tell_memory(class.memory_bytes).map_err(Failure::at("fill /sys"))?;
    for name in SYSTEM {
        mount(Some(name), &Path::new("root").join(name), none, MsFlags::MS_MOVE, none)
            .map_err(Failure::at(format!("move /{name}")))?;
    }
    record.mounts.iter().try_for_each(|mount| attach(mount, record.spec.uid))
}

/// Makes the built tree the only one there is.
pub(super) fn enter() -> Result<(), Failure> {
    chdir("root").map_err(Failure::at("enter root"))?;
    pivot_root(".", ".").map_err(Failure::at("pivot root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(Failure::at("leave old root"))?;
    chdir("/").map_err(Failure::at("enter new root"))
}

/// What every dyno has of its own: mount points, names, users.
fn write_upper(record: &Record) -> io::Result<()> {
    let upper = Path::new("upper");
    let uid = record.spec.uid;
    for directory in ["", "dev", "etc", "proc", "sys"] {
        DirBuilder::new().mode(0o755).create(upper.join(directory))?;
    }
    fs::create_dir(upper.join("tmp"))?;
    fs::set_permissions(upper.join("tmp"), Permissions::from_mode(0o1777))?;
    if record.slug.is_none() {
        DirBuilder::new().mode(0o755).create(upper.join("app"))?;
        std::os::unix::fs::chown(upper.join("app"), Some(uid), Some(uid))?;
    }
    let etc = upper.join("etc");
    let host = record.id;
    let address = record.address;
    fs::write(etc.join("hostname"), format!("{host}\n"))?;
    fs::write(
        etc.join("hosts"),
        format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address} {host}\n"),
    )?;
    fs::write(etc.join("resolv.conf"), &record.resolv_conf)?;
    let stack = &record.spec.stack;
    append(stack, &etc, "passwd", &format!("u{uid}:x:{uid}:{uid}::/app:/bin/bash\n"))?;
    append(stack, &etc, "group", &format!("u{uid}:x:{uid}:\n"))
}

/// The stack's list of users or groups, and the dyno's.
fn append(stack: &Path, etc: &Path, name: &str, line: &str) -> io::Result<()> {
    let mut list = match fs::read(stack.join("etc").join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    if list.last().is_some_and(|byte| *byte != b'\n') {
        list.push(b'\n');
    }
    list.write_all(line.as_bytes())?;
    fs::write(etc.join(name), list)
}

fn mount_overlay(record: &Record) -> Result<(), Failure> {
    // Layers are named by descriptor: a colon or comma in a path means something to overlayfs.
    let layers: Vec<OwnedFd> = record
        .slug
        .iter()
        .chain([&record.spec.stack])
        .map(|path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, rustix::fs::Mode::empty())
        })
        .collect::<Result<_, _>>()
        .map_err(Failure::at("open slug or stack"))?;
    let lower: Vec<String> =
        layers.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    let options = format!("lowerdir={},upperdir=upper,workdir=work,xino=off", lower.join(":"));
    mount(Some("overlay"), "root", Some("overlay"), QUIET, Some(options.as_str()))
        .map_err(Failure::at("mount overlay"))
}

fn mount_proc() -> Result<(), Failure> {
    let none = None::<&str>;
    let root = Path::new("proc");
    mount(Some("proc"), root, Some("proc"), QUIET | MsFlags::MS_NOEXEC, none)
        .map_err(Failure::at("mount /proc"))?;
    for name in MASKED {
        absent_is_fine(mount(Some("/dev/null"), &root.join(name), none, MsFlags::MS_BIND, none))
            .map_err(Failure::at(format!("mask /proc/{name}")))?;
    }
    for name in HIDDEN {
        let path = root.join(name);
        absent_is_fine(mount(Some(NOTHING), &path, none, MsFlags::MS_BIND, none))
            .and_then(|()| absent_is_fine(remount_read_only(&path, MsFlags::MS_NOEXEC)))
            .map_err(Failure::at(format!("hide /proc/{name}")))?;
    }
    for name in READ_ONLY {
        let path = root.join(name);
        absent_is_fine(mount(Some(&path), &path, none, MsFlags::MS_BIND, none))
            .and_then(|()| absent_is_fine(remount_read_only(&path, MsFlags::MS_NOEXEC)))
            .map_err(Failure::at(format!("protect /proc/{name}")))?;
    }
    Ok(())
}

fn absent_is_fine(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(nix::errno::Errno::ENOENT) => Ok(()),
        other => other,
    }
}

fn remount_read_only(path: &Path, more: MsFlags) -> nix::Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | QUIET | more;
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
}

/// A directory of the writable layer as a mount of its own, with flags of its own.
fn set_apart(directory: &Path, flags: MsFlags) -> nix::Result<()> {
    let none = None::<&str>;
    mount(Some(directory), directory, none, MsFlags::MS_BIND, none)?;
    mount(none, directory, none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags, none)
}

/// Only root could write there, and no process of a dyno is root.
fn mount_dev() -> io::Result<()> {
    let root = Path::new("dev");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    set_apart(root, flags)?;
    let nodes = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    for (name, major, minor) in nodes {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&root.join(name), SFlag::S_IFCHR, mode, makedev(major, minor))?;
        fs::set_permissions(root.join(name), Permissions::from_mode(0o666))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        symlink(target, root.join(name))?;
    }
    fs::create_dir(root.join("pts"))?;
    fs::create_dir(root.join("shm"))?;
    let options = "newinstance,ptmxmode=0666,mode=0620,max=256";
    mount(Some("devpts"), &root.join("pts"), Some("devpts"), flags, Some(options))?;
    let options = format!("size={SHARED_MEMORY_BYTES},mode=1777");
    let flags = flags | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &root.join("shm"), Some("tmpfs"), flags, Some(options.as_str()))?;
    Ok(())
}

/// Nothing of the machine's `/sys`, but room for the one file by which buildpacks size their
/// programs.
fn mount_sys() -> io::Result<()> {
    let root = Path::new("sys");
    set_apart(root, QUIET | MsFlags::MS_NOEXEC)?;
    fs::create_dir_all(root.join(MEMORY))
}

fn tell_memory(bytes: u64) -> io::Result<()> {
    let root = Path::new("sys");
    fs::write(root.join(MEMORY).join("memory.limit_in_bytes"), format!("{bytes}\n"))?;
    remount_read_only(root, MsFlags::MS_NOEXEC)?;
    Ok(())
}

/// Lets the dyno see a directory, file or image of the host.
fn attach(wanted: &Mount, uid: u32) -> Result<(), Failure> {
    let target = wanted.target.display();
    let step = |what: &str| format!("{what} {target}");
    let is_file = matches!(&wanted.source, MountSource::Path(path) if path.is_file());
    let path =
        make_target(&wanted.target, is_file, uid).map_err(Failure::at(step("make mount point")))?;
    match &wanted.source {
        MountSource::Path(source) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(source), &path.1, None::<&str>, flags, None::<&str>)
                .map_err(Failure::at(step("mount")))?;
        }
        MountSource::Image { path: source, .. } => {
            let device = image::attach(source)?;
            mount(Some(&device.path), &path.1, Some("ext4"), QUIET, None::<&str>)
                .map_err(Failure::at(step("mount image")))?;
        }
    }
    let (_open, path) = resolve(&wanted.target).map_err(Failure::at(step("find mount")))?;
    if wanted.writable {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | QUIET;
        mount(None::<&str>, &path, None::<&str>, flags, None::<&str>)
            .map_err(Failure::at(step("restrict mount")))
    } else {
        remount_read_only(&path, MsFlags::empty()).map_err(Failure::at(step("protect mount")))
    }
}

/// A path below the new root, by descriptor: links in the slug cannot lead out of it.
fn resolve(target: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let root =
        rustix::fs::open("root", OFlags::PATH | OFlags::DIRECTORY, rustix::fs::Mode::empty())?;
    let fd = openat2(
        &root,
        target,
        OFlags::PATH | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
        ResolveFlags::IN_ROOT,
    )?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    Ok((fd, path))
}

/// Makes what is missing on the way to `target`, owned by the dyno's user.
fn make_target(target: &Path, is_file: bool, uid: u32) -> io::Result<(OwnedFd, PathBuf)> {
    let mut made = PathBuf::from("/");
    let mut components = target.components().peekable();
    while let Some(component) = components.next() {
        let name = match component {
            Component::RootDir => continue,
            Component::Normal(name) => name,
            _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
        };
        let parent = resolve(&made)?;
        made.push(name);
        match resolve(&made) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => continue,
        }
        if is_file && components.peek().is_none() {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
            drop(rustix::fs::openat(&parent.0, name, flags, 0o644.into())?);
        } else {
            mkdirat(&parent.0, name, 0o755.into())?;
        }
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)));
        rustix::fs::chownat(&parent.0, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    resolve(&made)
}
