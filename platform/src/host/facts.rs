//! What is true of this machine, gathered for the doctor: nothing here judges.

use super::packages::{self, Need};
use super::{disk, dockerd, tool};
use crate::certs;
use crate::config::{Config, EngineKind};
use crate::endpoints::Endpoints;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

/// The host, as far as the platform depends on it.
#[derive(Clone, PartialEq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts are many and independent")]
pub(super) struct Facts {
    pub(super) root: bool,
    pub(super) missing: Vec<Need>,
    /// Names in `/proc/self/ns`.
    pub(super) namespaces: Vec<String>,
    /// Controllers of cgroup v1 that are mounted.
    pub(super) cgroup_v1: Vec<String>,
    /// Controllers of cgroup v2 at the root of the hierarchy.
    pub(super) cgroup_v2: Vec<String>,
    pub(super) seccomp: bool,
    pub(super) overlay: Trial,
    pub(super) veth: Trial,
    pub(super) nftables: Trial,
    pub(super) loop_devices: bool,
    pub(super) open_files: u64,
    pub(super) memory_bytes: u64,
    pub(super) data_free_bytes: u64,
    pub(super) stacks_free_bytes: u64,
    pub(super) stacks_built: bool,
    pub(super) unix_seconds: i64,
    /// Certificates of apps as they are served: for which names, and days until they end.
    pub(super) certificates: Vec<(String, i64)>,
    /// Addresses of ours that somebody else listens on.
    pub(super) taken: Vec<(&'static str, SocketAddr)>,
    /// Routed networks, with the interface.
    pub(super) routes: Vec<(Ipv4Addr, u32, String)>,
    /// What keeps dynos from the Docker daemon that was chosen for them.
    pub(super) docker: Trial,
    /// A foreign firewall drops what is forwarded, unless told otherwise.
    pub(super) forward_dropped: bool,
}

/// What an attempt in throw-away namespaces complained about; nothing when it worked.
pub(super) type Trial = Option<String>;

impl Facts {
    pub(super) fn gather(config: &Config, stacks_built: bool) -> Self {
        let root = nix::unistd::geteuid().is_root();
        Self {
            root,
            missing: packages::missing(),
            namespaces: names_in(Path::new("/proc/self/ns")),
            cgroup_v1: cgroup_v1(&read("/proc/self/mounts")),
            cgroup_v2: cgroup_v2(&read("/proc/self/mounts")),
            seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            overlay: try_overlay(),
            veth: attempt(&["--net"], VETH_PAIR),
            nftables: attempt(&["--net"], &["nft", "add", "table", "inet", "lathe_trial"]),
            loop_devices: Path::new("/dev/loop-control").exists(),
            open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .maximum
                .unwrap_or(u64::MAX),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            data_free_bytes: free_bytes(&config.data),
            stacks_free_bytes: free_bytes(&config.stacks.dir),
            stacks_built,
            unix_seconds: jiff::Timestamp::now().as_second(),
            certificates: certificates(config),
            taken: taken(config),
            routes: routes(&read("/proc/net/route")),
            docker: (config.engine == EngineKind::Docker)
                .then(|| dockerd::complaint(&config.docker.socket))
                .flatten(),
            forward_dropped: forward_dropped(),
        }
    }
}

fn certificates(config: &Config) -> Vec<(String, i64)> {
    let (served, now) = (certs::served(&config.keyring()), jiff::Timestamp::now());
    served.iter().map(|fields| (fields.names.join(", "), fields.days_left(now))).collect()
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Controllers among the mount options of cgroup v1 file systems.
fn cgroup_v1(mounts: &str) -> Vec<String> {
    let options = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        (fields.next()? == "cgroup").then(|| fields.next())?
    });
    options.flat_map(|options| options.split(',').map(str::to_owned)).collect()
}

fn cgroup_v2(mounts: &str) -> Vec<String> {
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let target = fields.next()?;
        (fields.next()? == "cgroup2").then_some(target)
    });
    let controllers = root.map(|root| read(&format!("{root}/cgroup.controllers")));
    controllers.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

const VETH_PAIR: &[&str] =
    &["ip", "link", "add", "name", "veth0", "type", "veth", "peer", "name", "veth1"];

/// Runs a program in namespaces of its own, which vanish with all that it did.
fn attempt(namespaces: &[&str], program: &[&str]) -> Trial {
    let mut command = Command::new("unshare");
    command.args(namespaces).args(program);
    let mut last = String::new();
    let tried = tool::run("unshare", command, &mut |line| line.clone_into(&mut last));
    tried.err().map(|error| if last.is_empty() { error.to_string() } else { last })
}

fn try_overlay() -> Trial {
    let prepared = tempfile::tempdir().and_then(|dir| {
        for name in ["lower", "middle", "target"] {
            fs::create_dir(dir.path().join(name))?;
        }
        Ok(dir)
    });
    let dir = match prepared {
        Ok(dir) => dir,
        Err(error) => return Some(error.to_string()),
    };
    let at = |name| dir.path().join(name).display().to_string();
    let layers = format!("lowerdir={}:{}", at("middle"), at("lower"));
    attempt(&["--mount"], &["mount", "-t", "overlay", "-o", &layers, "overlay", &at("target")])
}

pub(super) fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Free space for users at the path, or where it will be made.
fn free_bytes(path: &Path) -> u64 {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    disk::free_bytes(there).unwrap_or(0)
}

/// Our addresses that cannot be listened on, unless it is the running platform that has them.
fn taken(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let running = Endpoints::read(config).ok();
    let ours = running.map_or_else(Vec::new, |endpoints| {
        let Endpoints { api_tls, api_plain, rendezvous, router, router_tls } = endpoints;
        vec![api_tls, api_plain, rendezvous, router, router_tls]
    });
    let listen = &config.listen;
    [
        ("listen.api_tls", listen.api_tls),
        ("listen.api_plain", listen.api_plain),
        ("listen.rendezvous", listen.rendezvous),
        ("listen.router", listen.router),
        ("listen.router_tls", listen.router_tls),
    ]
    .into_iter()
    .filter(|(_, address)| address.port() != 0 && !ours.contains(address))
    .filter(|(_, address)| TcpListener::bind(address).is_err())
    .collect()
}

/// Network and mask of every route in the kernel's table (hexadecimal, in network order).
fn routes(table: &str) -> Vec<(Ipv4Addr, u32, String)> {
    let hex = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let rows = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let network = hex(fields.get(1)?)?;
        let mask = hex(fields.get(7)?)?;
        Some((Ipv4Addr::from_bits(network), mask.count_ones(), (*fields.first()?).to_owned()))
    });
    rows.collect()
}

/// Docker and some firewalls set this policy; our own rules cannot overrule it.
fn forward_dropped() -> bool {
    let mut command = Command::new("nft");
    command.args(["list", "chains", "ip"]);
    let mut dropped = false;
    let listed = tool::run("nft", command, &mut |line| {
        dropped |= line.contains("hook forward") && line.contains("policy drop");
    });
    listed.is_ok() && dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_read_from_the_mounts() {
        let mounts = "cgroup /sys/fs/cgroup/memory cgroup rw,nosuid,memory 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n\
                      tmpfs /run tmpfs rw,pids 0 0\n";
        let found = cgroup_v1(mounts);
        assert!(["memory", "cpu", "cpuacct"].iter().all(|name| found.iter().any(|f| f == name)));
        assert!(!found.iter().any(|name| name == "pids"));
    }

    #[test]
    fn routes_are_in_network_order() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\n\
                     eth0\t0000D50A\t00000000\t0001\t0\t0\t0\t0000FFFF\n";
        let found = routes(table);
        assert_eq!(found[1], (Ipv4Addr::new(10, 213, 0, 0), 16, "eth0".to_owned()));
        assert_eq!(found[0].1, 0);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(memory_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), 2 << 20);
    }
}
