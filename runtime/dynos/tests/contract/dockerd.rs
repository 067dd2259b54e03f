//! A Docker daemon of the tests' own: in namespaces of its own, with a socket and disk of its own,
//! and a cable to its containers. No other daemon on the machine notices.

use lathe_tests::host;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tempfile::TempDir;

/// Set to anything, the tests do without Docker, and say so: for machines on which no daemon runs.
const WITHOUT: &str = "LATHE_TESTS_WITHOUT_DOCKER";

pub(crate) const IMAGE: &str = "lathe-contract:1";

/// Whoever uses it keeps it: it ends with its test, however that ends.
static SHARED: Mutex<Weak<Dockerd>> = Mutex::new(Weak::new());

pub(crate) struct Dockerd {
    dir: TempDir,
    /// The first process of its namespaces: with it ends everything in them.
    namespaces: Mutex<Child>,
    /// `nsenter`, whose child is the daemon.
    daemon: Mutex<Option<Child>>,
    link: String,
    number: u32,
}

impl Dockerd {
    /// The one daemon of this program, with the image of the tests' stack.
    pub(crate) async fn shared() -> Option<Arc<Self>> {
        if std::env::var_os(WITHOUT).is_some() {
            host::say(&format!("{WITHOUT} is set: the Docker engine is not tested"));
            return None;
        }
        host::needs(&[host::DOCKER, host::NFT, host::IP, host::PYTHON]);
        let daemon = Arc::new(Self::new());
        daemon.start();
        daemon.answers().await;
        daemon.import();
        *SHARED.lock().unwrap() = Arc::downgrade(&daemon);
        Some(daemon)
    }

    pub(crate) fn get() -> Arc<Self> {
        SHARED.lock().unwrap().upgrade().unwrap()
    }

    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("lathe-dockerd-").tempdir().unwrap();
        // However the tests end, it ends with them.
        let mut namespaces = Command::new("setpriv");
        namespaces.args(["--pdeathsig", "KILL", "unshare"]);
        namespaces.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        // Reaps what a killed daemon leaves.
        namespaces.args(["docker-init", "--", "sleep", "infinity"]);
        namespaces.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let namespaces = namespaces.spawn().unwrap();
        let number = std::process::id() % 4000;
        let daemon = Self {
            dir,
            namespaces: Mutex::new(namespaces),
            daemon: Mutex::new(None),
            link: format!("ldk{number}"),
            number,
        };
        daemon.plug_in();
        daemon
    }

    /// One of the networks behind the cable.
    pub(crate) fn subnet(&self, engine: u32) -> String {
        format!("10.{}.{}.0/24", 192 + self.number % 32, engine % 200)
    }

    fn cable(&self) -> [String; 2] {
        let block = self.number % 64 * 4;
        [1, 2].map(|end| format!("169.254.77.{}", block + end))
    }

    fn first(&self) -> i32 {
        let unshare = self.namespaces.lock().unwrap().id();
        only_child(unshare).unwrap()
    }

    fn plug_in(&self) {
        let unshare = self.namespaces.lock().unwrap().id();
        // Until it has forked, there are no namespaces to plug into.
        for _ in 0..1000 {
            if only_child(unshare).is_some_and(|pid| {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|c| c.contains("docker-init") || c.contains("tini"))
            }) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let (first, link) = (self.first().to_string(), &self.link);
        let [here, there] = self.cable();
        run("ip", &["link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", &first]);
        run("ip", &["addr", "add", &format!("{here}/30"), "dev", link]);
        run("ip", &["link", "set", link, "up"]);
        let inside =
            |args: &[&str]| run("nsenter", &[&["--net", "--target", &first, "ip"], args].concat());
        inside(&["link", "set", "lo", "up"]);
        inside(&["addr", "add", &format!("{there}/30"), "dev", "eth0"]);
        inside(&["link", "set", "eth0", "up"]);
        let dynos = format!("10.{}.0.0/16", 192 + self.number % 32);
        run("ip", &["route", "add", &dynos, "via", &there]);
    }

    fn start(&self) {
        let dir = self.dir.path();
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        // Not the machine's.
        fs::write(path("config.json"), "{}").unwrap();
        let first = self.first().to_string();
        let daemon = Command::new("nsenter")
            .args(["--mount", "--net", "--pid", "--target", &first, "dockerd"])
            .args(["--host", &format!("unix://{}", path("docker.sock"))])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid"), "--config-file", &path("config.json")])
            .args(["--live-restore", "--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--storage-driver=overlay2"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.daemon.lock().unwrap() = Some(daemon);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    async fn answers(&self) {
        let ready = async || self.docker(&["version"]).status().is_ok_and(|s| s.success());
        for _ in 0..600 {
            if ready().await {
                return;
            }
            if self.daemon.lock().unwrap().as_mut().unwrap().try_wait().unwrap().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        panic!("no daemon came up; {WITHOUT}=1 does without. It said:\n{log}");
    }

    pub(crate) fn docker(&self, words: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("--host").arg(format!("unix://{}", self.socket().display())).args(words);
        docker.stdout(Stdio::null()).stderr(Stdio::null());
        docker
    }

    fn import(&self) {
        let stack = self.dir.path().join("stack");
        crate::world::make_stack(&stack);
        for directory in ["app", "tmp"] {
            fs::create_dir(stack.join(directory)).unwrap();
        }
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&stack).args(["-c", "."]).stdout(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        let archive = tar.stdout.take().unwrap();
        let imported = self.docker(&["import", "-", IMAGE]).stdin(archive).status().unwrap();
        assert!(imported.success() && tar.wait().unwrap().success());
    }

    fn pid(&self) -> i32 {
        let nsenter = self.daemon.lock().unwrap().as_ref().unwrap().id();
        only_child(nsenter).unwrap()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub(crate) fn kill(&self) {
        self.signal(nix::sys::signal::SIGKILL);
        self.daemon.lock().unwrap().take().unwrap().wait().unwrap();
    }

    pub(crate) async fn revive(&self) {
        self.start();
        self.answers().await;
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let namespaces = self.namespaces.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Everything in its namespaces goes with it, mounts and the cable included.
        drop(namespaces.kill());
        drop(namespaces.wait());
        let daemon = self.daemon.get_mut().unwrap_or_else(PoisonError::into_inner);
        // `nsenter` stops with a child that is stopped, and does not go on by itself.
        drop(daemon.take().map(|mut daemon| daemon.kill().and_then(|()| daemon.wait())));
        remove_groups();
        remove_tables();
    }
}

/// Names the engines of this process.
pub(crate) fn instance(number: u32) -> String {
    format!("k{:03}{:02}", std::process::id() % 1000, number % 100)
}

/// What a test that failed has left of its control groups.
fn remove_groups() {
    let prefix = format!("lathe-{}", &instance(0)[..4]);
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let groups = folders(&hierarchy.path());
        let ours = groups.iter().filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        });
        for group in ours {
            for below in folders(group) {
                for path in folders(&below) {
                    drop(fs::remove_dir(path));
                }
                drop(fs::remove_dir(below));
            }
            drop(fs::remove_dir(group));
        }
    }
}

/// And of its firewall tables.
fn remove_tables() {
    let prefix = format!("lathe_{}", &instance(0)[..4]);
    let listed = Command::new("nft").args(["list", "tables"]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for table in listed.split_whitespace().filter(|word| word.starts_with(&prefix)) {
        drop(Command::new("nft").args(["delete", "table", "inet", table]).status());
    }
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn only_child(pid: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {said}");
}
