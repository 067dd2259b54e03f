//! A Docker daemon of the tests' own: in namespaces of its own, with a socket and disk of its own,
//! and a cable to its containers. No other daemon on the machine notices.

use crate::{host, signal, until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// Set to anything, the tests do without Docker, and say so: for machines on which no daemon runs.
const WITHOUT: &str = "LATHE_TESTS_WITHOUT_DOCKER";

const BOUND: Duration = Duration::from_mins(3);
/// How often it is started before it counts as broken.
const LAUNCHES: u32 = 4;
/// Both ends of the cable of every such daemon are in here.
const CABLES: &str = "169.254.77.0/24";
/// Of their numbers; each has networks of its own.
const NUMBERS: u32 = 16;

#[derive(Debug)]
pub struct Dockerd {
    dir: TempDir,
    /// The first process of its namespaces: with it ends everything in them.
    namespaces: Child,
    /// `nsenter`, whose child is the daemon.
    daemon: Mutex<Option<Child>>,
    link: String,
    number: u32,
}

impl Dockerd {
    /// A daemon that answers; none when whoever runs the tests wants none.
    pub fn up() -> Option<Self> {
        if std::env::var_os(WITHOUT).is_some() {
            host::say(&format!("{WITHOUT} is set: the Docker engine is not tested"));
            return None;
        }
        host::needs(&[host::DOCKER, host::NFT, host::IP, host::PYTHON]);
        let daemon = Self::new();
        daemon.revive();
        Some(daemon)
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
        let link = format!("ldk{}", std::process::id());
        let mut daemon = Self { dir, namespaces, daemon: Mutex::new(None), link, number: 0 };
        daemon.plug_in();
        daemon
    }

    /// Of all addresses behind the cable. A platform, its benches and other tests have none of these
    /// sixteen.
    fn second_byte(&self) -> u32 {
        192 + self.number
    }

    /// One of the networks behind the cable, numbered from 0.
    pub fn subnet(&self, number: u32) -> String {
        format!("10.{}.{}.0/24", self.second_byte(), number % 200)
    }

    /// This machine as the daemon sees it. Of a registry there it checks no certificate.
    pub fn host(&self) -> String {
        let [here, _] = self.cable();
        here
    }

    fn cable(&self) -> [String; 2] {
        let block = self.number * 4;
        [1, 2].map(|end| format!("169.254.77.{}", block + end))
    }

    fn first(&self) -> u32 {
        only_child(self.namespaces.id()).unwrap()
    }

    fn plug_in(&mut self) {
        // Until it has forked, there are no namespaces to plug into.
        until("the daemon's namespaces are there", BOUND, || {
            let pid = only_child(self.namespaces.id())?;
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (name.contains("docker-init") || name.contains("tini")).then_some(())
        });
        let first = self.first().to_string();
        let inside =
            |args: &[&str]| run("nsenter", &[&["--net", "--target", &first, "ip"], args].concat());
        let link = self.link.clone();
        run("ip", &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &first]);
        run("ip", &["link", "set", &link, "up"]);
        inside(&["link", "set", "lo", "up"]);
        inside(&["link", "set", "eth0", "up"]);
        until("a network is nobody's", BOUND, || self.route().then_some(()));
        let [here, there] = self.cable();
        run("ip", &["addr", "add", &format!("{here}/30"), "dev", &link]);
        inside(&["addr", "add", &format!("{there}/30"), "dev", "eth0"]);
    }

    /// Takes a number that no other daemon has, also none that has just ended: whoever has it has the
    /// route.
    fn route(&mut self) -> bool {
        let first = std::process::id();
        (first..first + NUMBERS).any(|number| {
            self.number = number % NUMBERS;
            let dynos = format!("10.{}.0.0/16", self.second_byte());
            let [_, there] = self.cable();
            let words = ["route", "add", &dynos, "via", &there, "dev", &self.link, "onlink"];
            Command::new("ip").args(words).output().unwrap().status.success()
        })
    }

    /// Starts it, also again, and waits until it answers.
    pub fn revive(&self) {
        *self.daemon() = Some(self.launch());
        let mut launches = 1;
        until(&format!("the Docker daemon answers; {WITHOUT}=1 does without"), BOUND, || {
            let ended = self.daemon().as_mut().unwrap().try_wait().unwrap();
            if ended.is_some() {
                // On a slow disk its containerd takes longer than it waits for it.
                assert!(launches < LAUNCHES, "no daemon came up; it said:\n{}", self.log());
                *self.daemon() = Some(self.launch());
                launches += 1;
            }
            self.docker(&["version"]).output().unwrap().status.success().then_some(())
        });
    }

    fn launch(&self) -> Child {
        let dir = self.dir.path();
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        // Not the machine's.
        fs::write(path("config.json"), "{}").unwrap();
        let first = self.first().to_string();
        Command::new("nsenter")
            .args(["--mount", "--net", "--pid", "--target", &first, "dockerd"])
            .args(["--host", &format!("unix://{}", path("docker.sock"))])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid"), "--config-file", &path("config.json")])
            .args(["--live-restore", "--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--storage-driver=overlay2"])
            .args(["--insecure-registry", CABLES])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn daemon(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its client, with credentials of its own.
    pub fn docker(&self, words: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker.arg("--config").arg(self.dir.path().join("client"));
        docker.arg("--host").arg(format!("unix://{}", self.socket().display())).args(words);
        docker.stdin(Stdio::null());
        docker
    }

    /// What the client says when it succeeds.
    pub fn says(&self, words: &[&str]) -> String {
        let output = self.docker(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "docker {words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let nsenter = self.daemon().as_ref().unwrap().id();
        signal(only_child(nsenter).unwrap(), name);
    }

    pub fn kill(&self) {
        self.signal("KILL");
        let mut daemon = self.daemon().take().unwrap();
        daemon.wait().unwrap();
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- dockerd said:\n{}", self.log());
        }
        // Everything in its namespaces goes with it, mounts and the cable included.
        drop(self.namespaces.kill());
        drop(self.namespaces.wait());
        // `nsenter` stops with a child that is stopped, and does not go on by itself.
        let daemon = self.daemon().take();
        drop(daemon.map(|mut daemon| daemon.kill().and_then(|()| daemon.wait())));
    }
}

fn only_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {said}");
}
