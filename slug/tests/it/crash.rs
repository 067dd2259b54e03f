//! The store under kill -9: a real process, killed before each of the system calls that change a disk.

use crate::round_trip::packed;
use crate::tree::{build, describe, file};
use lathe_slug::{Manifest, SlugId, Store};
use lathe_tests::host;
use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// What the process does and to which store, for [`does_what_it_is_told`].
const ACT: &str = "LATHE_TEST_STORE_ACT";
const STORE: &str = "LATHE_TEST_STORE";
const NAME: &str = "crash::does_what_it_is_told";

/// Every call of a kind is a point at which a process may end. `?`: not on every processor.
const CALLS: [&str; 6] = [
    "write",
    "utimensat",
    "fsync",
    "?rename,?renameat,?renameat2",
    "?unlink,?unlinkat",
    "?mkdir,?mkdirat",
];
/// More calls of one kind than any of this makes.
const CALLS_MAX: usize = 50;

/// A store with a slug that some release has, and beside it the file of another slug.
struct Place {
    dir: TempDir,
    kept: Manifest,
    other: Manifest,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let slug = |content: &str| {
            let tree = tempfile::tempdir().unwrap();
            build(tree.path(), describe([("a", file(content))]).iter());
            packed(tree.path())
        };
        let ((kept, kept_bytes), (other, other_bytes)) = (slug("kept"), slug("other"));
        let place = Self { dir, kept, other };
        place.open().put(&kept_bytes[..]).unwrap();
        fs::write(place.slug(), other_bytes).unwrap();
        place
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn slug(&self) -> PathBuf {
        self.dir.path().join("slug.tgz")
    }

    fn open(&self) -> Store {
        Store::open(self.store(), 0).unwrap()
    }

    /// Whether the process came to its end before the `number`th call of that kind.
    fn act(&self, act: &str, calls: &str, number: usize) -> bool {
        let status = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:signal=SIGKILL:when={number}"), "--"])
            .arg(env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(ACT, act)
            .env(STORE, self.dir.path())
            .output()
            .unwrap()
            .status;
        status.success()
    }

    /// What has to hold after whatever happened, and once more after opening again.
    fn check(&self, what: &str) {
        let store = self.open();
        assert_eq!(store.verify(&self.kept.id).unwrap(), self.kept, "{what}");
        let whole = |id: &SlugId| [format!("{id}.json"), format!("{id}.tgz")];
        let mut expected = BTreeSet::from(["incoming".to_owned()]);
        expected.extend(whole(&self.kept.id));
        if store.contains(&self.other.id) {
            assert_eq!(store.verify(&self.other.id).unwrap(), self.other, "{what}");
            expected.extend(whole(&self.other.id));
        }
        assert_eq!(names(&self.store()), expected, "{what}");
        assert_eq!(names(&self.store().join("incoming")), BTreeSet::new(), "{what}");
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// No test: the process that the tests below kill.
#[test]
fn does_what_it_is_told() {
    let (Ok(act), Some(dir)) = (env::var(ACT), env::var_os(STORE).map(PathBuf::from)) else {
        return;
    };
    let store = Store::open(dir.join("store"), 0).unwrap();
    match act.as_str() {
        "put" => drop(store.put(File::open(dir.join("slug.tgz")).unwrap()).unwrap()),
        kept => {
            let keep = BTreeSet::from([kept.parse().unwrap()]);
            store.collect(&keep, Duration::ZERO, SystemTime::now()).unwrap();
        }
    }
}

/// Kills the process at every call in turn, until there is none left to kill it at.
fn at_every_call(prepare: impl Fn(&Place) -> String, after: impl Fn(&Place)) {
    host::needs(&[host::STRACE]);
    let mut killed = 0;
    for calls in CALLS {
        for number in 1.. {
            assert!(number < CALLS_MAX, "{calls} has no end");
            let place = Place::new();
            let ended = place.act(&prepare(&place), calls, number);
            place.check(&format!("killed before {calls} number {number}"));
            after(&place);
            if ended {
                break;
            }
            killed += 1;
        }
    }
    assert!(killed >= 6, "only {killed} points to be killed at");
}

#[test]
fn a_put_that_is_killed_leaves_a_whole_slug_or_none() {
    at_every_call(
        |_| "put".to_owned(),
        |place| {
            let store = place.open();
            assert_eq!(store.put(File::open(place.slug()).unwrap()).unwrap(), place.other);
            place.check("put again");
        },
    );
}

#[test]
fn a_collection_that_is_killed_leaves_what_is_kept_and_can_be_done_again() {
    at_every_call(
        |place| {
            place.open().put(File::open(place.slug()).unwrap()).unwrap();
            place.kept.id.to_string()
        },
        |place| {
            let keep = BTreeSet::from([place.kept.id]);
            place.open().collect(&keep, Duration::ZERO, SystemTime::now()).unwrap();
            place.check("collected again");
            assert!(!place.open().contains(&place.other.id));
        },
    );
}
