//! One engine in a directory of its own, with a stack small enough to make in milliseconds.

use lathe_dynos::class::{Capacity, Class};
use lathe_dynos::containers::{Containers, Ended, Exited, Start, Started, Stdio};
use lathe_dynos::native::{NativeConfig, NativeEngine, OpenSlug};
use lathe_dynos::spec::{DynoId, DynoSpec};
use lathe_tests::host;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// No wait in a test takes longer: a bound for what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const UID: u32 = 20_001;

static WORLDS: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    pub(crate) engine: Arc<NativeEngine>,
    pub(crate) config: NativeConfig,
    pub(crate) stack: PathBuf,
    pub(crate) rescue: Rescue,
    pub(crate) dir: TempDir,
}

/// Ends what a failing test would leave running. Dropped after the engine.
pub(crate) struct Rescue(NativeConfig);

impl Drop for Rescue {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let config = self.0.clone();
        let rescue = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                for _ in 0..100 {
                    // The failing test's engine may still hold the lock.
                    if let Ok(engine) = NativeEngine::open(config.clone(), no_slugs()).await {
                        return engine.close(true).await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(())
            })
        });
        // The test has failed already; its own message is the one to read.
        drop(rescue.join());
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_slugs(no_slugs()).await
    }

    pub(crate) async fn with_slugs(slugs: OpenSlug) -> Self {
        host::needs(&[host::NFT, host::IP, host::PYTHON]);
        let dir = tempfile::Builder::new().prefix("lathe-native-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let stack = dir.path().join("stack");
        make_stack(&stack);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id() % 1000;
        let config = NativeConfig {
            dir: dir.path().join("cell"),
            instance: format!("t{process:03}{number:02}"),
            network: format!("10.{}.{number}.0/24", 64 + process % 128).parse().unwrap(),
            lathe: PathBuf::from(env!("CARGO_BIN_EXE_lathe-spawner")),
            resolv_conf: None,
            limits: lathe_slug::UnpackLimits::default(),
            capacity: Capacity::UNLIMITED,
            sockets_patience: PATIENCE,
        };
        let engine = NativeEngine::open(config.clone(), slugs).await.unwrap();
        Self::of(engine, config, stack, dir)
    }

    /// A world whose engine is another one now.
    pub(crate) fn of(
        engine: NativeEngine,
        config: NativeConfig,
        stack: PathBuf,
        dir: TempDir,
    ) -> Self {
        let engine = Arc::new(engine);
        Self { engine, rescue: Rescue(config.clone()), config, stack, dir }
    }

    pub(crate) fn spec(&self, command: &str) -> DynoSpec {
        DynoSpec {
            app: lathe_logs::AppId::new("a1b2"),
            name: "web.1".to_owned(),
            uid: UID,
            stack: self.stack.clone(),
            slug: None,
            command: command.to_owned(),
            env: BTreeMap::from([("GREETING".to_owned(), "hello world".to_owned())]),
            class: class(),
            port: Some(5000),
        }
    }

    pub(crate) fn start_of(&self, command: &str) -> Start {
        Start {
            id: DynoId::random(),
            spec: self.spec(command),
            labels: BTreeMap::from([("slot".to_owned(), "web.1".to_owned())]),
            stdio: Stdio::Logged,
            mounts: Vec::new(),
            extra_fds: Vec::new(),
            argv: None,
        }
    }

    pub(crate) async fn start(&self, command: &str) -> (DynoId, Started) {
        let start = self.start_of(command);
        let id = start.id;
        (id, self.engine.start(start).await.unwrap())
    }

    /// Starts a command and waits for its end: what it said, and how it ended.
    pub(crate) async fn run(&self, command: &str) -> (String, Ended) {
        self.run_start(self.start_of(command)).await
    }

    pub(crate) async fn run_start(&self, start: Start) -> (String, Ended) {
        let id = start.id;
        self.engine.start(start).await.unwrap();
        let text = self.output(id).await;
        let ended = self.end(id).await;
        (text, ended)
    }

    /// All output until the end of both pipes.
    pub(crate) async fn output(&self, id: DynoId) -> String {
        let output = self.engine.output(id).await.unwrap();
        let mut text = read(output.stdout).await;
        text.push_str(&read(output.stderr).await);
        text
    }

    /// Waits until the dyno has said `word` so many times.
    pub(crate) async fn hear(&self, id: DynoId, word: &str, times: usize) {
        let output = self.engine.output(id).await.unwrap();
        let (mut heard, mut piece) = (String::new(), [0; 256]);
        wait_for(word, || {
            if let Ok(bytes) = rustix::io::read(&output.stdout, &mut piece) {
                heard.push_str(&String::from_utf8_lossy(&piece[..bytes]));
            }
            heard.matches(word).count() >= times
        })
        .await;
    }

    pub(crate) async fn end(&self, id: DynoId) -> Ended {
        let mut events = self.engine.events();
        loop {
            let known = self.engine.list().await.unwrap();
            if let Some(ended) = known.iter().find(|known| known.id == id).unwrap().ended {
                return ended;
            }
            tokio::time::timeout(PATIENCE, async {
                while !matches!(events.recv().await, Ok(Exited { id: ended, .. }) if ended == id) {}
            })
            .await
            .unwrap();
        }
    }

    /// Ends everything and looks for what was left behind.
    pub(crate) async fn close(self) {
        let Self { engine, config, stack: _, dir, rescue: _rescue } = self;
        engine.close(true).await.unwrap();
        let prefix = format!(" l{}-", config.instance);
        let gone = || {
            let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
            !String::from_utf8_lossy(&links.stdout).contains(&prefix)
        };
        wait_for("network links to be gone", gone).await;
        let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
        let table = format!("lathe_{}", config.instance);
        assert!(!String::from_utf8_lossy(&tables.stdout).contains(&table), "{table} is left");
        // Pure version 2 is mounted on the folder itself, version 1 on folders in it.
        let below = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
        for hierarchy in below.chain(["/sys/fs/cgroup".into()]) {
            let group = hierarchy.join(format!("lathe-{}", config.instance));
            wait_for(&format!("{} to be gone", group.display()), || !group.exists()).await;
        }
        let path = dir.path().to_str().unwrap();
        let mounts = || fs::read_to_string("/proc/self/mounts").unwrap();
        wait_for("mounts to be gone", || !mounts().contains(path)).await;
    }
}

pub(crate) fn class() -> Class {
    Class {
        name: "Test".into(),
        memory_bytes: 128 << 20,
        swap_bytes: 0,
        cpu_shares: 256,
        cpu_millis_max: None,
        credit: None,
        own_cpus: 0,
        pids_max: 64,
        disk_bytes: 32 << 20,
        price_cents: None,
    }
}

pub(crate) fn no_slugs() -> OpenSlug {
    Box::new(|_| Err(io::ErrorKind::NotFound.into()))
}

pub(crate) async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "waited in vain for {what}");
}

async fn read(fd: std::os::fd::OwnedFd) -> String {
    let mut text = Vec::new();
    let mut pipe = pipe::Receiver::from_owned_fd(fd).unwrap();
    tokio::time::timeout(PATIENCE, pipe.read_to_end(&mut text)).await.unwrap().unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// A root with the host's shell and tools: a dyno must not be able to tell.
pub(crate) fn make_stack(stack: &Path) {
    for directory in ["etc", "usr/bin", "var/tmp", "root"] {
        fs::create_dir_all(stack.join(directory)).unwrap();
    }
    for link in ["bin", "lib", "lib64"] {
        let target = fs::read_link(Path::new("/").join(link)).unwrap();
        fs::create_dir_all(stack.join(&target)).unwrap();
        symlink(target, stack.join(link)).unwrap();
    }
    fs::write(stack.join("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n").unwrap();
    fs::write(stack.join("etc/group"), "root:x:0:\n").unwrap();
    for program in ["/usr/bin/bash", "/usr/bin/python3"] {
        copy_program(Path::new(program), stack);
    }
    copy_programs_of_coreutils(stack);
    let library = Path::new("/usr/lib/python3.11");
    // A copy, not links: nothing that a test does to its stack may reach the machine's own files.
    let copied = Command::new("cp").arg("-a").arg(library).arg(stack.join("usr/lib")).status();
    assert!(copied.unwrap().success(), "python's library is not where Debian 12 has it");
    let ctypes = "lib-dynload/_ctypes.cpython-311-x86_64-linux-gnu.so";
    copy_program(&library.join(ctypes), stack);
}

fn copy_programs_of_coreutils(stack: &Path) {
    for name in [
        "cat", "sleep", "ls", "id", "stty", "dd", "env", "mkdir", "touch", "yes", "head", "true",
        "tty", "mknod",
    ] {
        copy_program(&Path::new("/usr/bin").join(name), stack);
    }
}

/// The program with the libraries that `ldd` names.
fn copy_program(program: &Path, stack: &Path) {
    let real = fs::canonicalize(program).unwrap();
    let listed = Command::new("ldd").arg(&real).output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for library in libraries {
        copy(Path::new(library), &stack.join(library.trim_start_matches('/')));
    }
    copy(&real, &stack.join(program.strip_prefix("/").unwrap()));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    if !to.exists() {
        fs::copy(from, to).unwrap();
    }
}
