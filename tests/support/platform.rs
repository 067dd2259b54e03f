//! A platform of its own for a test: scratch data, free ports, its own network; gone at the end.

use crate::{Answer, get, host, signal, until};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The first start on a machine builds the stacks.
const UP_BOUND: Duration = Duration::from_mins(15);
const STOP_BOUND: Duration = Duration::from_mins(1);
const END_BOUND: Duration = Duration::from_mins(1);
/// A keeper that hangs is ended by its own timer, as late as a start and a probation may take.
const KEEPER_BOUND: Duration = Duration::from_mins(4);

/// The `lathe` executable that this test run has built.
pub fn lathe() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop(); // deps
    path.pop();
    path.push("lathe");
    assert!(path.exists(), "{} is not built: run `cargo test --workspace`", path.display());
    path
}

/// A network that no other platform of this test run has.
pub fn unique_network() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let run = std::process::id() % 8;
    format!("10.{}.{}.0/24", 224 + run, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A directory for a platform's data, removed with what it is kept in.
fn scratch(parent: &Path) -> TempDir {
    tempfile::Builder::new().prefix("lathe-it-").tempdir_in(parent).unwrap()
}

#[derive(Debug)]
pub struct Platform {
    child: Option<Child>,
    data: PathBuf,
    /// Removed at the end; none when somebody else's.
    _dir: Option<TempDir>,
    network: String,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    program: PathBuf,
    self_hosted: bool,
}

impl Platform {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// `settings` are `key=value`, as for `lathe --set`.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::start_in(&std::env::temp_dir(), settings)
    }

    /// With these variables in its environment.
    pub fn start_within(environment: &[(String, String)]) -> Self {
        let dir = scratch(&std::env::temp_dir());
        Self::prepare(environment, dir.path().to_owned(), Some(dir), &[], false).risen()
    }

    /// Its data in a directory of its own below `parent`.
    pub fn start_in(parent: &Path, settings: &[&str]) -> Self {
        let dir = scratch(parent);
        Self::begin(dir.path().to_owned(), Some(dir), settings, false)
    }

    /// One that a keeper starts, and that becomes another version of itself when it is released one.
    pub fn start_self_hosted(settings: &[&str]) -> Self {
        Self::start_self_hosted_in(&std::env::temp_dir(), settings)
    }

    pub fn start_self_hosted_in(parent: &Path, settings: &[&str]) -> Self {
        let dir = scratch(parent);
        Self::begin(dir.path().to_owned(), Some(dir), settings, true)
    }

    /// With these variables in its environment.
    pub fn start_self_hosted_within(environment: &[(String, String)], settings: &[&str]) -> Self {
        let dir = scratch(&std::env::temp_dir());
        Self::prepare(environment, dir.path().to_owned(), Some(dir), settings, true).risen()
    }

    /// Not started: an empty data directory, and the commands for it.
    pub fn on_a_bare_machine(settings: &[&str]) -> Self {
        let dir = scratch(&std::env::temp_dir());
        Self::prepare(&[], dir.path().to_owned(), Some(dir), settings, true)
    }

    /// On a data directory that another platform has left, as after a reboot.
    pub fn revive(data: &Path, settings: &[&str]) -> Self {
        Self::revived(data, settings, false)
    }

    pub fn revive_self_hosted(data: &Path, settings: &[&str]) -> Self {
        Self::revived(data, settings, true)
    }

    fn revived(data: &Path, settings: &[&str], self_hosted: bool) -> Self {
        // What was true of the last running platform only.
        drop(std::fs::remove_file(data.join("run/endpoints.json")));
        Self::begin(data.to_owned(), None, settings, self_hosted)
    }

    fn begin(data: PathBuf, dir: Option<TempDir>, settings: &[&str], self_hosted: bool) -> Self {
        Self::prepare(&[], data, dir, settings, self_hosted).risen()
    }

    fn prepare(
        environment: &[(String, String)],
        data: PathBuf,
        dir: Option<TempDir>,
        settings: &[&str],
        self_hosted: bool,
    ) -> Self {
        host::needs(host::PLATFORM);
        Self {
            child: None,
            data,
            _dir: dir,
            network: unique_network(),
            settings: settings.iter().map(|s| (*s).to_owned()).collect(),
            environment: environment.to_vec(),
            program: lathe(),
            self_hosted,
        }
    }

    fn risen(mut self) -> Self {
        self.up();
        self
    }

    /// Starts `lathe up` on the same data and waits until it says where it listens.
    pub fn up(&mut self) {
        assert!(self.child.is_none(), "it is up already");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.join("up.log"))
            .unwrap();
        let mut command = self.command();
        command
            .arg("up")
            .args(self.self_hosted.then_some("--self-hosted"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = command.spawn().unwrap();
        until("lathe up listens", UP_BOUND, || {
            assert!(child.try_wait().unwrap().is_none(), "lathe up ended: {}", self.log());
            self.endpoints_file().exists().then_some(())
        });
        self.child = Some(child);
    }

    /// A setting for the next start.
    pub fn set(&mut self, setting: &str) {
        self.settings.push(setting.to_owned());
    }

    /// Another `lathe` for the next start, as an upgrade brings one.
    pub fn upgrade(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// `lathe` with this platform's settings.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.envs(environment).arg("--data").arg(&self.data);
        let network = format!("network={}", self.network);
        let free = ["api_tls", "api_plain", "rendezvous", "router", "router_tls"]
            .map(|l| format!("listen.{l}=127.0.0.1:0"));
        for setting in free.iter().chain([&network]).chain(&self.settings) {
            command.args(["--set", setting]);
        }
        command
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it is up").id()
    }

    fn endpoints_file(&self) -> PathBuf {
        self.data.join("run/endpoints.json")
    }

    /// `api_tls`, `api_plain`, `rendezvous`, `router` or `router_tls`.
    pub fn address(&self, name: &str) -> SocketAddr {
        let text = std::fs::read(self.endpoints_file()).unwrap();
        let endpoints: Value = serde_json::from_slice(&text).unwrap();
        endpoints[name].as_str().unwrap().parse().unwrap()
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.data.join("owner-token")).unwrap().trim().to_owned()
    }

    /// What `lathe up` printed and logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("up.log")).unwrap_or_default()
    }

    /// A request to an app through the router.
    pub fn app(&self, name: &str, path: &str) -> Answer {
        get(self.address("router"), &format!("{name}.localhost"), path)
    }

    /// Waits until an image can be had: the first on a machine has to wait for the stack's layer.
    pub fn awaits_image(&self, app: &str, tag: &str) {
        let bearer = format!("Bearer {}", self.token());
        let (address, path) = (self.address("api_plain"), format!("/v2/{app}/manifests/{tag}"));
        until("the image is there", UP_BOUND, || {
            let headers = [("Authorization", bearer.as_str())];
            let answer = crate::request(address, "HEAD", "localhost", &path, &headers, b"");
            answer.filter(|answer| answer.status == 200).map(drop)
        });
    }

    /// A Platform API call as the owner.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.api_as(Some(&self.token()), method, path, body)
    }

    pub fn api_as(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![
            ("Accept", "application/vnd.heroku+json; version=3"),
            ("Content-Type", "application/json"),
        ];
        headers.extend(bearer.iter().map(|value| ("Authorization", value.as_str())));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let address = self.address("api_plain");
        let answer = crate::request(address, method, "localhost", path, &headers, body.as_bytes())
            .expect("the API answers");
        (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
    }

    /// kill -9 of the platform process alone; dynos and their spawner live on.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it is up");
        child.kill().unwrap();
        child.wait().unwrap();
        drop(std::fs::remove_file(self.endpoints_file()));
    }

    /// kill -9 of the keeper of a self-hosted platform; the platform lives on.
    pub fn kill_keeper(&mut self) {
        let mut child = self.child.take().expect("it is up");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for the end of the keeper, and starts another as a service manager does; the platform
    /// goes on meanwhile.
    pub fn another_keeper(&mut self) {
        let mut child = self.child.take().expect("it is up");
        until("the keeper ends", KEEPER_BOUND, || child.try_wait().unwrap());
        self.up();
    }

    /// The process that holds the data directory, whoever has started it.
    pub fn holder(&self) -> u32 {
        until("somebody holds the data directory", END_BOUND, || {
            std::fs::read_to_string(self.data.join("lock")).ok()?.trim().parse().ok()
        })
    }

    /// SIGTERM, and the end of the process waited for; dynos live on.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it is up");
        signal(child.id(), "TERM");
        until("lathe up ends after SIGTERM", STOP_BOUND, || child.try_wait().unwrap());
    }

    /// `lathe stop`: nobody is to come after it; dynos live on.
    pub fn stop_for_good(&mut self) {
        let mut child = self.child.take().expect("it is up");
        // It is our child, and goes only when we have asked for its status.
        let reaped = std::thread::spawn(move || child.wait());
        let stopped = self.command().arg("stop").output().unwrap();
        assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
        reaped.join().unwrap().unwrap();
    }
}

impl Drop for Platform {
    /// Ends everything, dynos included, and checks that nothing of it is left on the machine.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- lathe up said:\n{}", self.log());
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        let stopped = self.command().args(["stop", "--stop-dynos"]).output();
        if std::thread::panicking() {
            return;
        }
        let stopped = stopped.unwrap();
        let said = String::from_utf8_lossy(&stopped.stderr);
        assert!(stopped.status.success(), "lathe stop failed: {said}");
        // A process that was told to end is seen for a moment longer.
        let began = Instant::now();
        let mut left = leftovers(&self.data);
        while !left.is_empty() && began.elapsed() < END_BOUND {
            std::thread::sleep(Duration::from_millis(20));
            left = leftovers(&self.data);
        }
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// Processes that still name the data directory, and mounts below it.
fn leftovers(data: &Path) -> Vec<String> {
    let name = data.to_str().unwrap();
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        if text.contains(name) {
            left.push(text);
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(name)).map(str::to_owned));
    left
}
