//! Control groups as a measurement sees them: where they are, and what a process's ones say.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";

/// The controllers that limit a dyno.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];

/// Whether the machine has version 2 alone.
pub(super) fn unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The directories in which a group is made, one for each hierarchy.
pub(super) fn hierarchies() -> Vec<PathBuf> {
    if unified() {
        return vec![ROOT.into()];
    }
    CONTROLLERS.map(|controller| Path::new(ROOT).join(controller)).to_vec()
}

/// The group in which a controller counts a process.
pub(super) fn of(pid: u32, controller: &str) -> Option<PathBuf> {
    let list = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = |wanted: &str| {
        list.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let listed = controllers.split(',').any(|name| name == wanted);
            listed.then(|| path.trim_start_matches('/').to_owned())
        })
    };
    if unified() {
        return Some(Path::new(ROOT).join(path("")?));
    }
    Some(Path::new(ROOT).join(controller).join(path(controller)?))
}

/// Processor time of a group and of all that are or were below it.
pub(super) fn cpu(group: &Path) -> Option<Duration> {
    if let Some(nanoseconds) = number(&group.join("cpuacct.usage")) {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let table = fs::read_to_string(group.join("cpu.stat")).ok()?;
    let value = table.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    value.parse().ok().map(Duration::from_micros)
}

/// Memory that a process's group is charged for now, the kernel's own share included; bytes.
pub(super) fn memory(pid: u32) -> Option<u64> {
    let group = of(pid, "memory")?;
    number(&group.join("memory.usage_in_bytes")).or_else(|| number(&group.join("memory.current")))
}

/// Memory of a process itself, what it shares with others counted in proportion; bytes.
pub(super) fn proportional_set(pid: u32) -> Option<u64> {
    let table = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

pub(super) fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

pub(super) fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Processor time of one thread, exact to the nanosecond (`/proc/<pid>/schedstat`).
pub(super) fn cpu_of_thread(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// The same of all threads that a process has now.
pub(super) fn cpu_of_process(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let spent =
        threads.filter_map(|thread| cpu_of_thread(thread.file_name().to_str()?.parse().ok()?));
    Some(spent.sum())
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
