//! What a platform has on the machine, seen and hurt from outside: processes, dynos, load.

use crate::{Answer, Platform, request};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For what hangs.
const BOUND: Duration = Duration::from_mins(1);

/// The app of the platform's own dynos.
const SYSTEM_APP: &str = "lathe";

/// A running dyno as its record and the kernel tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dyno {
    pub id: String,
    /// Names its control groups.
    pub berth: String,
    pub name: String,
    pub app: String,
    pub pid: u32,
    pub address: Ipv4Addr,
    pub port: Option<u16>,
}

impl Dyno {
    /// A request to the dyno itself, past the router.
    pub fn get(&self, path: &str) -> Option<Answer> {
        let address = SocketAddr::from((self.address, self.port.expect("a web dyno")));
        request(address, "GET", "dyno", path, &[], b"")
    }
}

impl Platform {
    /// The dynos of apps that run, by name; read from the engine's records, whether or not anybody
    /// watches them.
    pub fn dynos(&self) -> Vec<Dyno> {
        self.all_dynos().into_iter().filter(|dyno| dyno.app != SYSTEM_APP).collect()
    }

    /// The processes that route requests: the one that serves, and those that finish what they had.
    pub fn routers(&self) -> Vec<u32> {
        let routers = self.all_dynos().into_iter().filter(|dyno| dyno.app == SYSTEM_APP);
        let children = |dyno: Dyno| {
            let path = format!("/proc/{0}/task/{0}/children", dyno.pid);
            let pids = std::fs::read_to_string(path).unwrap_or_default();
            pids.split_ascii_whitespace().next().and_then(|pid| pid.parse().ok())
        };
        routers.filter_map(children).collect()
    }

    fn all_dynos(&self) -> Vec<Dyno> {
        let Ok(entries) = std::fs::read_dir(self.data().join("cell/dynos")) else {
            return Vec::new();
        };
        let mut dynos: Vec<Dyno> = entries.flatten().filter_map(|e| dyno(&e.path())).collect();
        dynos.sort_by(|a, b| (&a.app, &a.name).cmp(&(&b.app, &b.name)));
        dynos
    }

    /// The running dyno of that name.
    pub fn dyno(&self, name: &str) -> Dyno {
        let found = self.dynos().into_iter().find(|dyno| dyno.name == name);
        found.unwrap_or_else(|| panic!("no {name} runs: {:?}", self.dynos()))
    }

    /// `/apps/<app>/dynos`: name, state and identity of each, by name.
    pub fn ps(&self, app: &str) -> Vec<(String, String, String)> {
        let (status, dynos) = self.api("GET", &format!("/apps/{app}/dynos"), &Value::Null);
        assert_eq!(status, 200, "{dynos}");
        let text = |dyno: &Value, key: &str| dyno[key].as_str().unwrap().to_owned();
        let of = |d: &Value| (text(d, "name"), text(d, "state"), text(d, "id"));
        let mut all: Vec<_> = dynos.as_array().unwrap().iter().map(of).collect();
        all.sort();
        all
    }

    /// What the app's log holds.
    pub fn logs(&self, app: &str) -> String {
        self.logs_if_there(app).expect("the platform shows the app's log")
    }

    /// The same of a platform that may just be beginning anew; none while it says nowhere where it is,
    /// or cuts who has come.
    pub fn logs_if_there(&self, app: &str) -> Option<String> {
        let at = std::fs::read(self.data().join("run/endpoints.json")).ok()?;
        let at: Value = serde_json::from_slice(&at).ok()?;
        let at: SocketAddr = at["api_plain"].as_str()?.parse().ok()?;
        let bearer = format!("Bearer {}", self.token());
        let headers = [
            ("Accept", "application/vnd.heroku+json; version=3"),
            ("Content-Type", "application/json"),
            ("Authorization", bearer.as_str()),
        ];
        let (path, wish) =
            (format!("/apps/{app}/log-sessions"), br#"{"lines": 1500, "tail": false}"#);
        let session = request(at, "POST", "localhost", &path, &headers, wish)?;
        let session: Value = serde_json::from_str(&session.body).ok()?;
        let url = session["logplex_url"].as_str()?;
        let path = &url[url.find("/log-sessions/")?..];
        Some(request(at, "GET", "localhost", path, &[], b"")?.body)
    }

    /// Waits until what a log shows is on the disk, too: only then it outlives a kill.
    pub fn writes_down(&self, text: &str) {
        crate::until("the log's journal has it", BOUND, || {
            let journal = std::fs::read(self.data().join("logs.journal")).ok()?;
            journal.windows(text.len()).any(|part| part == text.as_bytes()).then_some(())
        });
    }

    pub fn spawner_pid(&self) -> u32 {
        let wanted = format!("spawner\0--dir\0{}", self.data().join("cell").display());
        // A dyno's first process is a copy of the spawner, until it has a title of its own.
        crate::until("there is one spawner", BOUND, || {
            match processes(|cmdline| cmdline.contains(&wanted))[..] {
                [pid] => Some(pid),
                _ => None,
            }
        })
    }

    /// What a power cut does to everything that runs: all processes of this platform are gone at
    /// once, and with them every mount, network and control group that they kept alive. The next
    /// start is told of another boot by the file in which the engine keeps the kernel's boot id.
    pub fn reboot(&mut self) {
        let dynos = self.all_dynos();
        let spawner = self.spawner_pid();
        // Where it hosts itself, the child is its keeper.
        let holder = self.holder();
        self.kill();
        for process in [holder, spawner] {
            signal(process, "KILL");
        }
        for dyno in &dynos {
            signal(dyno.pid, "KILL");
        }
        crate::until("everything is dead", BOUND, || self.all_dynos().is_empty().then_some(()));
        // First processes that waited for a dyno die with the spawner.
        crate::until("no control group is left", BOUND, || {
            for group in self.cgroups().iter().rev() {
                drop(std::fs::remove_dir(group));
            }
            self.cgroups().is_empty().then_some(())
        });
        drop(std::fs::remove_dir_all(self.data().join("run")));
        std::fs::write(self.data().join("cell/boot"), "00000000-another-boot\n").unwrap();
    }

    /// What a bad disk may do to the state of a platform that does not run.
    pub fn damage_state(&self) {
        for log in ["state.db-wal", "state.db-shm"] {
            drop(std::fs::remove_file(self.data().join(log)));
        }
        std::fs::write(self.data().join("state.db"), b"not a database any more").unwrap();
    }

    /// Every control group of this platform that a dyno has or had, and those above them.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let parent = format!("lathe-{}", self.instance());
        let groups = walkdir::WalkDir::new("/sys/fs/cgroup").max_depth(4).into_iter().flatten();
        groups
            .filter(|entry| entry.file_type().is_dir())
            .map(walkdir::DirEntry::into_path)
            .filter(|path| path.components().any(|part| part.as_os_str() == parent.as_str()))
            .collect()
    }

    /// The engine's name on this machine, which its groups, links and firewall table bear.
    /// Made from the data directory as the platform makes it.
    pub fn instance(&self) -> String {
        let data = self.data().canonicalize().unwrap();
        let sum =
            Command::new("sh").args(["-c", "printf %s \"$0\" | sha256sum"]).arg(data).output();
        let sum = String::from_utf8(sum.unwrap().stdout).unwrap();
        let byte = |i: usize| u8::from_str_radix(&sum[2 * i..2 * i + 2], 16).unwrap();
        (0..5).map(|i| char::from(b'a' + byte(i) % 26)).collect()
    }
}

/// Where this machine limits processes: the one tree of control groups v2, or a tree of its own.
pub fn cgroups_of_pids() -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() { root.into() } else { root.join("pids") }
}

fn dyno(dir: &Path) -> Option<Dyno> {
    let record: Value =
        serde_json::from_slice(&std::fs::read(dir.join("record.json")).ok()?).ok()?;
    let pid = std::fs::read_to_string(dir.join("pid")).ok()?;
    let (pid, started) = pid.trim().split_once(' ')?;
    // The number may be somebody else's by now.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let alive = fields.next()? != "Z" && fields.nth(18)? == started;
    let spec = &record["spec"];
    alive.then_some(())?;
    Some(Dyno {
        id: record["id"].as_str()?.to_owned(),
        berth: record["berth"].as_str()?.to_owned(),
        name: spec["name"].as_str()?.to_owned(),
        app: spec["app"].as_str()?.to_owned(),
        pid: pid.parse().ok()?,
        address: record["address"].as_str()?.parse().ok()?,
        port: spec["port"].as_u64().and_then(|port| port.try_into().ok()),
    })
}

fn processes(wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if wanted(&String::from_utf8_lossy(&cmdline)) {
            pids.push(pid);
        }
    }
    pids
}

/// Sends a signal; a process that is gone is as good.
pub fn signal(pid: u32, name: &str) {
    drop(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).output());
}

/// Requests, one after the other without a pause, until told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

/// What became of the requests of a load.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub answered: usize,
    /// Since the load began: when, and what came instead of a 200.
    pub failed: Vec<(Duration, Option<u16>)>,
    /// The longest time between two good answers.
    pub gap: Duration,
}

impl Load {
    /// `ask` is one request.
    pub fn start(mut ask: impl FnMut() -> Option<Answer> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (began, mut tally) = (Instant::now(), Tally::default());
            let mut last = began;
            while !told.load(Ordering::Relaxed) {
                match ask().map(|answer| answer.status) {
                    Some(200) => {
                        tally.answered += 1;
                        tally.gap = tally.gap.max(last.elapsed());
                        last = Instant::now();
                    }
                    other => tally.failed.push((began.elapsed(), other)),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            tally
        });
        Self { stop, thread }
    }

    pub fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The CPU quota of a control group one below a root of Lathe's, microseconds; none when it is not
/// there or has none.
pub fn cpu_quota(group: &str) -> Option<u64> {
    let groups = |root: &str| std::fs::read_dir(root).into_iter().flatten().flatten();
    let file = |root: &str, name: &str| {
        groups(root).map(|root| root.path().join(group).join(name)).find(|path| path.exists())
    };
    let v1 = file("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us");
    let path = v1.or_else(|| file("/sys/fs/cgroup", "cpu.max"))?;
    std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}
