//! The one Docker daemon of this program, with the image of the tests' stack, and what a test that
//! failed has left on the machine.

use lathe_tests::Dockerd;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

pub(crate) const IMAGE: &str = "lathe-contract:1";

/// Whoever uses it keeps it: it ends with its test, however that ends.
static SHARED: Mutex<Weak<Bench>> = Mutex::new(Weak::new());

pub(crate) struct Bench {
    pub(crate) daemon: Dockerd,
    /// Goes after the daemon and its containers.
    _leftovers: Leftovers,
}

struct Leftovers;

impl Bench {
    /// None when whoever runs the tests wants no Docker.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        let bench = Arc::new(Self { daemon: Dockerd::up()?, _leftovers: Leftovers });
        bench.import();
        *SHARED.lock().unwrap() = Arc::downgrade(&bench);
        Some(bench)
    }

    pub(crate) fn get() -> Arc<Self> {
        SHARED.lock().unwrap().upgrade().unwrap()
    }

    fn import(&self) {
        let stack = self.daemon.dir().join("stack");
        crate::world::make_stack(&stack);
        for directory in ["app", "tmp"] {
            fs::create_dir(stack.join(directory)).unwrap();
        }
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&stack).args(["-c", "."]).stdout(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        let archive = tar.stdout.take().unwrap();
        let mut import = self.daemon.docker(&["import", "-", IMAGE]);
        let imported = import.stdin(archive).stdout(Stdio::null()).status().unwrap();
        assert!(imported.success() && tar.wait().unwrap().success());
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        remove_groups();
        remove_tables();
    }
}

/// Names the engines of this process.
pub(crate) fn instance(number: u32) -> String {
    format!("k{:03}{:02}", std::process::id() % 1000, number % 100)
}

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
