//! The doctor: judges the facts of a machine, each with its reason and its remedy.

use super::facts::{Facts, Trial};
use crate::config::{Config, EngineKind};
use std::fmt;

/// Free disk below which a first push is likely to fail: stacks, a build, its cache, a slug.
const DISK_WANTED_BYTES: u64 = 10 << 30;
/// What both stacks take while they are made.
const STACKS_BYTES: u64 = 4 << 30;
const MEMORY_WANTED_BYTES: u64 = 2 << 30;
/// Two pipes a dyno, two sockets a request.
const OPEN_FILES_WANTED: u64 = 65_536;
/// Whoever renews certificates has done it by then.
const DAYS_WANTED: i64 = 7;
/// A clock before this makes every certificate and every package list invalid. 2026-01-01.
const CLOCK_FLOOR_SECONDS: i64 = 1_767_225_600;

/// One thing looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    pub name: &'static str,
    /// What it is needed for.
    pub why: &'static str,
    pub state: State,
}

/// How it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    Good,
    /// The platform runs, but something will be worse than it could be.
    Doubtful {
        found: String,
        remedy: String,
    },
    /// The platform does not run like this.
    Bad {
        found: String,
        remedy: String,
    },
}

impl fmt::Display for Check {
    /// One line; two more when something is to be done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Good => write!(f, "  ok   {}", self.name),
            State::Doubtful { found, remedy } => {
                write!(
                    f,
                    "  hm   {}: {found}\n       for: {}\n       {remedy}",
                    self.name, self.why
                )
            }
            State::Bad { found, remedy } => {
                write!(
                    f,
                    "  bad  {}: {found}\n       for: {}\n       {remedy}",
                    self.name, self.why
                )
            }
        }
    }
}

/// Looks at the machine. Changes nothing: what is tried is tried in namespaces that vanish.
pub fn examine(config: &Config, stacks_built: bool) -> Vec<Check> {
    judge(&Facts::gather(config, stacks_built), config)
}

fn judge(facts: &Facts, config: &Config) -> Vec<Check> {
    let mut checks = vec![root(facts), programs(facts)];
    checks.extend(kernel(facts));
    checks.push(controllers(facts));
    checks.extend(room(facts, config));
    checks.extend(network(facts, config));
    checks.push(certificates(facts));
    if config.engine == EngineKind::Docker {
        checks.push(docker(facts));
    }
    checks
}

fn root(facts: &Facts) -> Check {
    let state = bad_unless(facts.root, || {
        ("you are not root".into(), "Run `sudo lathe doctor`, and the platform as root.".into())
    });
    Check { name: "root", why: "namespaces, mounts, a user for each app", state }
}

fn programs(facts: &Facts) -> Check {
    let named = |name: fn(&super::packages::Need) -> &'static str| {
        facts.missing.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    let state = bad_unless(facts.missing.is_empty(), || {
        let packages = named(|need| need.package);
        (
            format!("{} missing", named(|need| need.what)),
            format!("apt-get update && apt-get install --no-install-recommends {packages}"),
        )
    });
    Check { name: "programs", why: "the platform calls Debian's own tools", state }
}

/// What the kernel must be able to do; what cannot be asked about is tried.
fn kernel(facts: &Facts) -> Vec<Check> {
    let lacking: Vec<_> = ["mnt", "pid", "uts", "ipc", "net", "cgroup"]
        .into_iter()
        .filter(|name| !facts.namespaces.iter().any(|found| found == name))
        .collect();
    let another = || "Use a kernel that has it; Debian's own does.".to_owned();
    let tried = |name, why, trial: &Trial| {
        let state = match trial {
            None => State::Good,
            Some(said) => State::Bad { found: said.clone(), remedy: another() },
        };
        Check { name, why, state }
    };
    let mut checks = vec![
        Check {
            name: "namespaces",
            why: "each dyno sees only itself",
            state: bad_unless(lacking.is_empty(), || {
                (format!("no {} namespaces", lacking.join(", ")), another())
            }),
        },
        Check {
            name: "seccomp",
            why: "dynos are kept from most of the kernel",
            state: bad_unless(facts.seccomp, || ("the kernel has none".into(), another())),
        },
    ];
    // Without root every trial fails, and says nothing about the kernel.
    if facts.root {
        checks.push(tried("overlay", "a dyno's tree: slug over stack", &facts.overlay));
        // What a missing program could not try is complained about by its own check.
        let has = |program| !facts.missing.iter().any(|need| need.what == program);
        if has("ip") {
            checks.push(tried("veth", "a dyno's own network", &facts.veth));
        }
        if has("nft") {
            checks.push(tried("nftables", "dynos cannot reach each other", &facts.nftables));
        }
    }
    checks.push(Check {
        name: "loop devices",
        why: "build caches of bounded size",
        state: bad_unless(facts.loop_devices, || {
            ("/dev/loop-control is not there".into(), "modprobe loop".into())
        }),
    });
    checks
}

fn controllers(facts: &Facts) -> Check {
    let has = |name: &str| {
        [&facts.cgroup_v1, &facts.cgroup_v2].iter().any(|all| all.iter().any(|c| c == name))
    };
    let lacking: Vec<_> = ["cpu", "memory", "pids"].into_iter().filter(|name| !has(name)).collect();
    let state = bad_unless(lacking.is_empty(), || {
        (
            format!("no {} controller, neither v1 nor v2", lacking.join(", ")),
            "Mount cgroup2 on /sys/fs/cgroup, and remove `cgroup_disable=` from the kernel's \
             command line."
                .into(),
        )
    });
    Check { name: "cgroups", why: "limits on CPU, memory and processes", state }
}

/// Memory, disk, files, time.
fn room(facts: &Facts, config: &Config) -> Vec<Check> {
    let gigabytes =
        |bytes: u64| format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10);
    let more_disk = |dir: &std::path::Path| format!("Free space below {}.", dir.display());
    let data = match facts.data_free_bytes {
        free if free < config.free_disk_floor_bytes => State::Bad {
            found: format!("{} free; pushes are refused", gigabytes(free)),
            remedy: more_disk(&config.data),
        },
        free if free < DISK_WANTED_BYTES => State::Doubtful {
            found: format!("{} free", gigabytes(free)),
            remedy: more_disk(&config.data),
        },
        _ => State::Good,
    };
    let stacks = bad_unless(facts.stacks_built || facts.stacks_free_bytes >= STACKS_BYTES, || {
        (format!("{} free", gigabytes(facts.stacks_free_bytes)), more_disk(&config.stacks.dir))
    });
    let files = doubtful_unless(facts.open_files >= OPEN_FILES_WANTED, || {
        (
            format!("at most {} open files", facts.open_files),
            format!("ulimit -n {OPEN_FILES_WANTED}; the unit of `lathe install` does so."),
        )
    });
    let memory = doubtful_unless(facts.memory_bytes >= MEMORY_WANTED_BYTES, || {
        (format!("{} of memory", gigabytes(facts.memory_bytes)), "Builds may need more.".into())
    });
    let clock = bad_unless(facts.unix_seconds >= CLOCK_FLOOR_SECONDS, || {
        ("the clock is years behind".into(), "timedatectl set-ntp true".into())
    });
    vec![
        Check { name: "disk", why: "repositories, slugs, caches", state: data },
        Check { name: "disk for stacks", why: "the base file systems", state: stacks },
        Check { name: "memory", why: "builds and dynos", state: memory },
        Check { name: "open files", why: "connections and dynos' output", state: files },
        Check { name: "clock", why: "certificates and package lists", state: clock },
    ]
}

fn network(facts: &Facts, config: &Config) -> Vec<Check> {
    let ports = bad_unless(facts.taken.is_empty(), || {
        let taken: Vec<_> =
            facts.taken.iter().map(|(setting, address)| format!("{address} ({setting})")).collect();
        (
            format!("cannot listen on {}", taken.join(", ")),
            format!("See who does (`ss -ltnp`), or --set {}=…", facts.taken[0].0),
        )
    });
    let overlap = facts.routes.iter().find(|(network, prefix, _)| {
        // Narrower ones are dynos of this or another data directory.
        (1..=24).contains(prefix) && config.network.overlaps(*network, *prefix)
    });
    let addresses = doubtful_unless(overlap.is_none(), || {
        let interface = overlap.map_or("", |(_, _, interface)| interface);
        (
            format!("{} is routed to {interface} already", config.network),
            "Choose another: --set network=10.214.0.0/16".into(),
        )
    });
    let forward = doubtful_unless(!facts.forward_dropped, || {
        (
            "another firewall drops what this machine forwards".into(),
            format!(
                "Let dynos out: iptables -I FORWARD -s {n} -j ACCEPT; iptables -I FORWARD -d {n} -j ACCEPT",
                n = config.network
            ),
        )
    });
    vec![
        Check { name: "ports", why: "clients and requests come in there", state: ports },
        Check { name: "addresses", why: "dynos have one each", state: addresses },
        Check { name: "forwarding", why: "dynos reach the Internet", state: forward },
    ]
}

fn certificates(facts: &Facts) -> Check {
    let ending: Vec<_> =
        facts.certificates.iter().filter(|(_, days)| *days < DAYS_WANTED).collect();
    let state = doubtful_unless(ending.is_empty(), || {
        let end = |days: &i64| match days {
            ..0 => "has expired".to_owned(),
            days => format!("expires in {days} days"),
        };
        let found: Vec<_> =
            ending.iter().map(|(names, days)| format!("{names} {}", end(days))).collect();
        let remedy = "heroku certs:update CRT KEY -a APP; or `heroku certs:auto -a APP` says why \
            it was not renewed.";
        (found.join("; "), remedy.into())
    });
    Check { name: "certificates", why: "apps are served by HTTPS", state }
}

fn docker(facts: &Facts) -> Check {
    let state = match &facts.docker {
        None => State::Good,
        Some(said) => State::Bad {
            found: said.clone(),
            remedy: "`lathe doctor --docker` installs Debian's and starts it; on one that is \
                there already it changes nothing."
                .into(),
        },
    };
    Check { name: "docker", why: "runs the dynos of apps, as `engine` says", state }
}

fn bad_unless(good: bool, otherwise: impl FnOnce() -> (String, String)) -> State {
    if good {
        return State::Good;
    }
    let (found, remedy) = otherwise();
    State::Bad { found, remedy }
}

fn doubtful_unless(good: bool, otherwise: impl FnOnce() -> (String, String)) -> State {
    if good {
        return State::Good;
    }
    let (found, remedy) = otherwise();
    State::Doubtful { found, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;
    use crate::host::packages::NEEDS;
    use std::net::Ipv4Addr;

    fn healthy() -> Facts {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Facts {
            root: true,
            namespaces: owned(&["mnt", "pid", "uts", "ipc", "net", "cgroup"]),
            cgroup_v1: owned(&["memory", "cpu"]),
            cgroup_v2: owned(&["pids"]),
            seccomp: true,
            loop_devices: true,
            open_files: 1 << 20,
            memory_bytes: 8 << 30,
            data_free_bytes: 50 << 30,
            stacks_free_bytes: 50 << 30,
            unix_seconds: 1_800_000_000,
            ..Facts::default()
        }
    }

    /// Names of the checks that are not good after the change.
    fn complaints(change: impl FnOnce(&mut Facts)) -> Vec<&'static str> {
        let mut facts = healthy();
        change(&mut facts);
        let checks = judge(&facts, &Config::defaults(&Surroundings::default()));
        checks.iter().filter(|check| check.state != State::Good).map(|check| check.name).collect()
    }

    #[test]
    fn each_fault_is_named_and_nothing_else_is() {
        assert_eq!(complaints(|_| ()), Vec::<&str>::new());
        assert_eq!(complaints(|f| f.root = false), ["root"]);
        assert_eq!(complaints(|f| f.missing = vec![NEEDS[0]]), ["programs"]);
        let without_nft = |facts: &mut Facts| {
            facts.missing = NEEDS.iter().filter(|need| need.what == "nft").copied().collect();
            facts.nftables = Some("failed to execute nft".into());
        };
        assert_eq!(complaints(without_nft), ["programs"]);
        assert_eq!(complaints(|f| f.namespaces.retain(|n| n != "net")), ["namespaces"]);
        assert_eq!(complaints(|f| f.cgroup_v2.clear()), ["cgroups"]);
        assert_eq!(complaints(|f| f.overlay = Some("unknown filesystem".into())), ["overlay"]);
        assert_eq!(complaints(|f| f.loop_devices = false), ["loop devices"]);
        assert_eq!(complaints(|f| f.data_free_bytes = 1), ["disk"]);
        assert_eq!(complaints(|f| f.stacks_free_bytes = 1), ["disk for stacks"]);
        assert_eq!(complaints(|f| f.open_files = 1024), ["open files"]);
        assert_eq!(complaints(|f| f.unix_seconds = 0), ["clock"]);
        assert_eq!(complaints(|f| f.forward_dropped = true), ["forwarding"]);
        for days in [-3, 2] {
            let ending = vec![("www.example.com".into(), days), ("api.example.com".into(), 80)];
            assert_eq!(complaints(|f| f.certificates = ending), ["certificates"]);
        }
        let address = "0.0.0.0:8080".parse().unwrap();
        assert_eq!(complaints(|f| f.taken = vec![("listen.router", address)]), ["ports"]);
    }

    #[test]
    fn a_docker_daemon_counts_only_where_it_was_chosen() {
        let facts = Facts { docker: Some("it does not answer".into()), ..healthy() };
        for (engine, expected) in [(EngineKind::Native, false), (EngineKind::Docker, true)] {
            let mut config = Config::defaults(&Surroundings::default());
            config.engine = engine;
            let complains = |check: &Check| check.name == "docker" && check.state != State::Good;
            assert_eq!(judge(&facts, &config).iter().any(complains), expected, "{engine}");
        }
    }

    #[test]
    fn a_route_over_the_dynos_network_is_noticed() {
        let cases = [
            ([10, 213, 4, 0], 24, true),
            ([10, 0, 0, 0], 8, true),
            ([0, 0, 0, 0], 0, false),
            ([10, 213, 0, 7], 32, false),
            ([192, 168, 1, 0], 24, false),
        ];
        for (network, prefix, noticed) in cases {
            let route = (Ipv4Addr::from(network), prefix, "eth0".to_owned());
            let found = complaints(|facts| facts.routes = vec![route.clone()]);
            assert_eq!(found == ["addresses"], noticed, "{route:?}");
        }
    }
}
