//! The control groups of dynos: made, read and removed in version 1 and version 2 alike.

use super::berths::BerthId;
use crate::class::{Class, SHARES_OF_CPU};
use crate::containers::{CpuGroup, Usage};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Length of the period over which the CPU cap holds, microseconds: the kernel's default.
const PERIOD_US: u32 = 100_000;

/// How long the kernel may take to empty a killed group.
const REMOVE_TRIES: u32 = 250;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// More than any table has.
const TABLE_BYTES: usize = 8192;

/// The controllers a dyno needs.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];

/// The group of one engine, in every hierarchy.
#[derive(Debug)]
pub(crate) struct Cgroups {
    /// By controller name; `cpuacct` is a part of `cpu` in version 2.
    controllers: BTreeMap<&'static str, PathBuf>,
    unified: Option<PathBuf>,
    /// The unified hierarchy has the controllers, so that its files set the limits.
    v2: bool,
}

impl Cgroups {
    /// Finds the hierarchies and makes the engine's group `name` in each.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let mounts = Mounts::parse(&fs::read_to_string("/proc/self/mounts")?);
        let unified = mounts.unified.map(|root| (root.join(name), root));
        let mut v2 = false;
        if let Some((group, root)) = &unified {
            let offered = fs::read_to_string(root.join("cgroup.controllers"))?;
            v2 = offered.split_whitespace().any(|controller| controller == "memory");
            fs::create_dir_all(group)?;
            if v2 {
                for directory in [root, group] {
                    set(&directory.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
                }
            }
        }
        let mut controllers = BTreeMap::new();
        if !v2 {
            for controller in CONTROLLERS {
                let Some(root) = mounts.v1.get(controller) else {
                    let message = format!("no cgroup hierarchy has the controller {controller}");
                    return Err(io::Error::new(io::ErrorKind::Unsupported, message));
                };
                let group = root.join(name);
                fs::create_dir_all(&group)?;
                controllers.insert(controller, group);
            }
        }
        Ok(Self { controllers, unified: unified.map(|(group, _)| group), v2 })
    }

    /// The groups of one berth; they may not exist.
    pub(crate) fn of(&self, id: BerthId) -> Group {
        let name = id.to_string();
        let join =
            |(controller, group): (&&'static str, &PathBuf)| (*controller, group.join(&name));
        Group {
            controllers: self.controllers.iter().map(join).collect(),
            unified: self.unified.as_ref().map(|group| group.join(&name)),
            v2: self.v2,
        }
    }

    /// All berths that have a group in any hierarchy.
    pub(crate) fn all(&self) -> io::Result<Vec<BerthId>> {
        let mut ids = Vec::new();
        for group in self.controllers.values().chain(&self.unified) {
            for entry in fs::read_dir(group)? {
                if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                    ids.push(BerthId(id));
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Removes the engine's own groups, those of the last dynos, which may be on their way out, and
    /// those of berths that were never taken.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.all()?.into_iter().try_for_each(|id| self.of(id).remove())?;
        self.controllers.values().chain(&self.unified).try_for_each(|group| remove(group))
    }
}

/// The hierarchies of a machine, as `/proc/self/mounts` lists them.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) v1: BTreeMap<String, PathBuf>,
    pub(crate) unified: Option<PathBuf>,
}

impl Mounts {
    pub(crate) fn parse(text: &str) -> Self {
        let mut mounts = Self::default();
        for line in text.lines() {
            let mut fields = line.split(' ');
            let (Some(_), Some(path), Some(kind), Some(options)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            match kind {
                "cgroup2" => mounts.unified = Some(path.into()),
                "cgroup" => {
                    for option in options.split(',') {
                        mounts.v1.insert(option.to_owned(), path.into());
                    }
                }
                _ => {}
            }
        }
        mounts
    }
}

/// The control groups a berth has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// Version 1: one directory a hierarchy, joined by the first process.
    pub(crate) v1: Vec<PathBuf>,
    /// Version 2, also without controllers: the process is born there.
    pub(crate) v2: Option<PathBuf>,
}

/// How a dyno has fared, as its groups tell it at the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Met {
    pub(crate) memory_peak_bytes: u64,
    pub(crate) oom_kills: u64,
    /// Processes it could not start.
    pub(crate) pids_denied: u64,
}

/// The groups of one berth, and so of the dyno in it.
#[derive(Debug)]
pub(crate) struct Group {
    controllers: BTreeMap<&'static str, PathBuf>,
    unified: Option<PathBuf>,
    v2: bool,
}

impl Group {
    /// Makes the groups, still without limits; after an error none is left.
    pub(crate) fn create(&self) -> io::Result<Membership> {
        if let Err(error) = self.directories().into_iter().try_for_each(fs::create_dir) {
            self.remove()?;
            return Err(error);
        }
        Ok(self.membership())
    }

    /// What a process joins to be in them.
    pub(crate) fn membership(&self) -> Membership {
        let v1: BTreeSet<PathBuf> = self.controllers.values().cloned().collect();
        Membership { v1: v1.into_iter().collect(), v2: self.unified.clone() }
    }

    /// Each once: many machines mount `cpu` and `cpuacct` as one hierarchy.
    fn directories(&self) -> BTreeSet<&PathBuf> {
        self.controllers.values().chain(&self.unified).collect()
    }

    /// Sets the limits of `class`.
    pub(crate) fn limit(&self, class: &Class) -> io::Result<()> {
        for limit in if self.v2 { limits_v2(class) } else { limits_v1(class) } {
            match self.set(limit.controller, limit.file, &limit.value) {
                // A kernel without swap accounting.
                Err(error) if error.kind() == io::ErrorKind::NotFound && limit.of_swap => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// What the dyno has met with; zero for what cannot be read any more.
    pub(crate) fn met(&self) -> Met {
        let (peak, events) = if self.v2 {
            ("memory.peak", "memory.events")
        } else {
            ("memory.max_usage_in_bytes", "memory.oom_control")
        };
        Met {
            memory_peak_bytes: self.number("memory", peak),
            oom_kills: field(&self.table("memory", events), "oom_kill"),
            pids_denied: field(&self.table("pids", "pids.events"), "max"),
        }
    }

    /// What the dyno uses; zero for what cannot be read any more.
    pub(crate) fn usage(&self) -> Usage {
        let pids = self.number("pids", "pids.current");
        let Met { memory_peak_bytes, oom_kills, pids_denied } = self.met();
        let mut usage = Usage {
            pids: u32::try_from(pids).unwrap_or(u32::MAX),
            pids_denied,
            memory_peak_bytes,
            oom_kills,
            ..Usage::default()
        };
        if self.v2 {
            let memory = self.table("memory", "memory.stat");
            usage.pages_in = field(&memory, "pgpgin");
            usage.pages_out = field(&memory, "pgpgout");
            usage.memory_rss_bytes = field(&memory, "anon");
            usage.memory_cache_bytes = field(&memory, "file");
            usage.memory_swap_bytes = self.number("memory", "memory.swap.current");
            usage.cpu_ns = field(&self.table("cpu", "cpu.stat"), "usage_usec") * 1000;
        } else {
            let memory = self.table("memory", "memory.stat");
            usage.pages_in = field(&memory, "total_pgpgin");
            usage.pages_out = field(&memory, "total_pgpgout");
            usage.memory_rss_bytes = field(&memory, "total_rss");
            usage.memory_cache_bytes = field(&memory, "total_cache");
            usage.memory_swap_bytes = field(&memory, "total_swap");
            usage.cpu_ns = self.number("cpuacct", "cpuacct.usage");
        }
        usage
    }

    /// How many of the dyno's threads run, wait for a CPU or for a disk: what the kernel's load
    /// average counts.
    pub(super) fn runnable(&self) -> u32 {
        let threads = self.table("cpu", if self.v2 { "cgroup.threads" } else { "tasks" });
        let active = threads.lines().filter(|thread| {
            // One that has ended meanwhile does not run.
            let stat = fs::read_to_string(format!("/proc/{thread}/stat")).unwrap_or_default();
            is_active(&stat)
        });
        u32::try_from(active.count()).unwrap_or(u32::MAX)
    }

    /// Where its CPU time is counted and capped.
    pub(crate) fn cpu(&self) -> Option<CpuGroup> {
        if self.v2 {
            return self.unified.clone().map(CpuGroup::V2);
        }
        let of = |controller| self.controllers.get(controller).cloned();
        Some(CpuGroup::V1 { cpu: of("cpu")?, cpuacct: of("cpuacct")? })
    }

    /// The unified hierarchy counts who waits for a CPU even when it limits nothing.
    pub(crate) fn pressure(&self) -> Option<PathBuf> {
        self.unified.as_ref().map(|group| group.join("cpu.pressure")).filter(|file| file.exists())
    }

    /// The group of that name in each of these.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self {
            controllers: self.controllers.iter().map(|(c, path)| (*c, path.join(name))).collect(),
            unified: self.unified.as_ref().map(|group| group.join(name)),
            v2: self.v2,
        }
    }

    /// Every process, as the kernel lists them.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let list = self.table("pids", "cgroup.procs");
        list.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills whatever is in the groups and removes them.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.directories().into_iter().try_for_each(|path| remove(path))
    }

    fn path(&self, controller: &str) -> Option<&Path> {
        let v1 = self.controllers.get(controller);
        v1.or(self.unified.as_ref()).map(PathBuf::as_path)
    }

    fn set(&self, controller: &str, file: &str, value: &str) -> io::Result<()> {
        let group = self.path(controller).ok_or(io::ErrorKind::NotFound)?;
        set(&group.join(file), value)
    }

    fn table(&self, controller: &str, file: &str) -> String {
        let path = self.path(controller).map(|group| group.join(file));
        // With room for all of it: the kernel tells no size, and makes the table for each read.
        let mut table = String::with_capacity(TABLE_BYTES);
        let file = path.and_then(|path| fs::File::open(path).ok());
        match file.map(|mut file| file.read_to_string(&mut table)) {
            Some(Ok(_)) => table,
            Some(Err(_)) | None => String::new(),
        }
    }

    fn number(&self, controller: &str, file: &str) -> u64 {
        self.table(controller, file).trim().parse().unwrap_or(0)
    }
}

/// One file of a group and what is written into it.
#[derive(PartialEq, Eq, Debug)]
struct Limit {
    controller: &'static str,
    file: &'static str,
    value: String,
    of_swap: bool,
}

impl Limit {
    fn new(controller: &'static str, file: &'static str, value: &impl ToString) -> Self {
        Self { controller, file, value: value.to_string(), of_swap: false }
    }

    fn of_swap(file: &'static str, value: &impl ToString) -> Self {
        Self { of_swap: true, ..Self::new("memory", file, value) }
    }
}

/// In the order in which the kernel takes them: memory with swap is never less than memory.
///
/// A new group has no CPU cap, and to be told so again costs a look at all groups of the machine.
fn limits_v1(class: &Class) -> Vec<Limit> {
    let with_swap = class.memory_bytes.saturating_add(class.swap_bytes);
    let cap = class.cpu_millis_max.map(|cap| Limit::new("cpu", "cpu.cfs_quota_us", &quota(cap)));
    let mut limits = vec![
        Limit::new("memory", "memory.limit_in_bytes", &class.memory_bytes),
        Limit::of_swap("memory.memsw.limit_in_bytes", &with_swap),
        Limit::new("pids", "pids.max", &class.pids_max),
        Limit::new("cpu", "cpu.shares", &class.cpu_shares),
    ];
    limits.extend(cap);
    limits
}

/// Version 2 counts swap apart from memory, and without a word allows all of the machine's.
fn limits_v2(class: &Class) -> Vec<Limit> {
    let quota = class.cpu_millis_max.map_or("max".to_owned(), |cap| quota(cap).to_string());
    vec![
        Limit::new("memory", "memory.max", &class.memory_bytes),
        Limit::of_swap("memory.swap.max", &class.swap_bytes),
        Limit::new("pids", "pids.max", &class.pids_max),
        Limit::new("cpu", "cpu.weight", &weight(class.cpu_shares)),
        Limit::new("cpu", "cpu.max", &format!("{quota} {PERIOD_US}")),
    ]
}

/// A value of a `name number` table such as `memory.stat`.
fn field(table: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    table.lines().find_map(value).unwrap_or(0)
}

/// By `/proc/TID/stat`: the state follows the name, which may hold anything.
fn is_active(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['R', 'D']))
}

/// Version 2's weight for version 1's shares: the default of one (100) for that of the other (1024),
/// so that small classes keep their proportions.
fn weight(shares: u32) -> u32 {
    (shares.saturating_mul(100) / SHARES_OF_CPU).clamp(1, 10_000)
}

/// Microseconds of CPU in one period; the kernel takes no less than 1000.
fn quota(cap_millis: u32) -> u32 {
    cap_millis.saturating_mul(PERIOD_US / 1000).max(1000)
}

/// One write, as the kernel's files want it.
pub(crate) fn set(path: &Path, value: &str) -> io::Result<()> {
    let name =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(name)
}

/// Removes a group, killing what is in it for as long as the kernel calls it busy.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < REMOVE_TRIES => {
                tries += 1;
                kill_all(path);
                sleep(REMOVE_PAUSE);
            }
            other => return other,
        }
    }
}

fn kill_all(group: &Path) {
    if fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        // It may have ended meanwhile; the next try of the caller tells.
        let _gone =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Classes;

    #[test]
    fn hierarchies_are_found_in_both_versions() {
        let mounts = Mounts::parse(
            "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n\
             cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
             cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
             tmpfs /tmp tmpfs rw 0 0\nshort line\n",
        );
        assert_eq!(mounts.v1["cpu"], mounts.v1["cpuacct"]);
        assert_eq!(mounts.v1["memory"], Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(mounts.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        let pure = Mounts::parse("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0");
        assert!(pure.v1.is_empty() && pure.unified.is_some());
    }

    #[test]
    fn what_runs_or_waits_for_a_disk_is_active() {
        for (stat, want) in [
            ("7 (ruby) R 1 7 7", true),
            ("7 (a) S b) D 1 7 7", true),
            ("7 (a) R b) S 1 7 7", false),
            ("7 (ruby) Z 1 7 7", false),
            ("", false),
        ] {
            assert_eq!(is_active(stat), want, "{stat:?}");
        }
    }

    #[test]
    fn weights_and_quotas_stay_within_what_the_kernel_takes() {
        for (shares, expected) in
            [(0, 1), (2, 1), (64, 6), (256, 25), (1024, 100), (262_144, 10_000), (u32::MAX, 10_000)]
        {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        for (cap, expected) in [(0, 1000), (1, 1000), (62, 6200), (1000, 100_000), (8000, 800_000)]
        {
            assert_eq!(quota(cap), expected, "{cap}");
        }
    }

    #[test]
    fn a_dyno_swaps_as_much_as_its_class_says_in_either_version() {
        let value = |limits: &[Limit], file: &str| {
            limits.iter().find(|limit| limit.file == file).map(|limit| limit.value.clone())
        };
        for (name, memory, swap, cap) in [
            ("standard-1x", 512 << 20, 0, "100000 100000"),
            ("standard-2x", 1 << 30, 64 << 20, "200000 100000"),
            ("build", 4_u64 << 30, 0, "max 100000"),
        ] {
            let class = Classes::standard().named(name).unwrap();
            let class = Class { swap_bytes: swap, ..class };
            let (v1, v2) = (limits_v1(&class), limits_v2(&class));
            // There "memsw" is memory and swap together, here swap is counted alone.
            assert_eq!(value(&v1, "memory.limit_in_bytes"), Some(memory.to_string()));
            let together = Some((memory + swap).to_string());
            assert_eq!(value(&v1, "memory.memsw.limit_in_bytes"), together);
            assert_eq!(value(&v2, "memory.max"), Some(memory.to_string()));
            assert_eq!(value(&v2, "memory.swap.max"), Some(swap.to_string()));
            assert_eq!(value(&v2, "cpu.max").as_deref(), Some(cap));
        }
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let table = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(table, "oom_kill"), 3);
        assert_eq!(field(table, "oom"), 0);
    }
}
