//! What was acknowledged stays: the power goes in the middle of changes, or the disk fails a sync.

use lathe_tests::{Checkout, Disk, Platform, host, request, signal, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

const BOUND: Duration = Duration::from_mins(1);
const CUTS: usize = 5;
/// Fewest changes that have to lie before a cut, so that it cuts something.
const CHANGES_MIN: usize = 6;

/// Everything that has been acknowledged so far.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    changes: usize,
    /// Config vars by release.
    releases: BTreeMap<u64, Value>,
    tokens: BTreeSet<String>,
    quantity: u64,
}

/// Makes the next change, and takes down what the answer says.
fn change(platform: &Platform, seen: &Mutex<Acknowledged>) {
    let call = |method: &str, path: &str, body: &Value| {
        let (status, answer) = platform.api(method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    };
    let changes = seen.lock().unwrap().changes;
    // There may be more of them than one answer holds.
    let latest = || {
        let bearer = format!("Bearer {}", platform.token());
        let range = "version ..; order=desc, max=1";
        let headers = [("Authorization", bearer.as_str()), ("Range", range)];
        let address = platform.address("api_plain");
        let path = "/apps/mixed/releases";
        let answer = request(address, "GET", "localhost", path, &headers, b"").unwrap();
        let newest: Value = serde_json::from_str(&answer.body).unwrap();
        newest[0]["version"].as_u64().unwrap_or_else(|| panic!("{newest}"))
    };
    match changes % 4 {
        0 | 2 => {
            let vars = json!({ format!("K{}", changes % 7): format!("{changes}") });
            let vars = call("PATCH", "/apps/mixed/config-vars", &vars);
            seen.lock().unwrap().releases.insert(latest(), vars);
        }
        1 => {
            let wish = json!({"quantity": quantity_of(changes)});
            let formation = call("PATCH", "/apps/mixed/formation/worker", &wish);
            seen.lock().unwrap().quantity = formation["quantity"].as_u64().unwrap();
        }
        _ if changes % 8 == 3 => {
            let token = call("POST", "/oauth/authorizations", &json!({"description": "cut"}));
            seen.lock().unwrap().tokens.insert(token["id"].as_str().unwrap().to_owned());
        }
        _ => {
            let release = call("POST", "/apps/mixed/releases", &json!({"release": "2"}));
            let version = release["version"].as_u64().unwrap();
            seen.lock().unwrap().releases.insert(version, json!({}));
        }
    }
    seen.lock().unwrap().changes += 1;
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is on the disk at a moment at which so much was acknowledged, and this change at most begun.
struct Cut {
    acknowledged: Acknowledged,
    begun: usize,
    disk: Disk,
}

impl Cut {
    /// What a change that was under way may have made of it, or those that came while the disk was cut off.
    fn may_be(&self, quantity: u64) -> bool {
        let changes = self.acknowledged.changes..=self.begun;
        let quantities = changes.filter(|change| change % 4 == 1).map(quantity_of);
        quantities.chain([self.acknowledged.quantity]).any(|it| it == quantity)
    }
}

/// Of a change that scales.
fn quantity_of(change: usize) -> u64 {
    (change / 4 % 3) as u64
}

/// Cuts the power at moments that nobody has chosen, while changes are made without a pause.
fn cut(platform: &Platform, disk: &Disk) -> Vec<Cut> {
    let seen = Mutex::new(Acknowledged::default());
    let over = AtomicBool::new(false);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut dice = now.subsec_nanos();
    std::thread::scope(|scope| {
        // However this ends, the changes end with it.
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                change(platform, &seen);
            }
        });
        let mut cuts = Vec::new();
        for number in 1..=CUTS {
            until("changes are made", BOUND, || {
                (seen.lock().unwrap().changes >= number * CHANGES_MIN).then_some(())
            });
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            std::thread::sleep(Duration::from_millis(u64::from(dice >> 16) % 60));
            let acknowledged = seen.lock().unwrap().clone();
            let disk = disk.after_power_cut();
            cuts.push(Cut { acknowledged, begun: seen.lock().unwrap().changes, disk });
        }
        cuts
    })
}

/// The file by itself: whole, and no release without its app or its config.
fn check_file(data: &Path) {
    let program = "import shutil, sqlite3, sys, tempfile
with tempfile.TemporaryDirectory() as copy:
    for end in ('', '-wal'):
        shutil.copy(sys.argv[1] + '/state.db' + end, copy)
    state = sqlite3.connect(copy + '/state.db')
    print(state.execute('PRAGMA quick_check').fetchall())
    print(state.execute('PRAGMA foreign_key_check').fetchall())
    print(state.execute('''SELECT count(*) FROM apps WHERE current IS NOT NULL AND NOT EXISTS
        (SELECT 1 FROM releases WHERE app = apps.id AND version = apps.current)''').fetchall())
    print(state.execute('SELECT max(version) - count(*) FROM releases').fetchall())
";
    let output = Command::new("python3").args(["-c", program]).arg(data).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(said, "[('ok',)]\n[]\n[(0,)]\n[(0,)]\n");
}

/// fault S1.
#[test]
fn acknowledged_changes_survive_power_cuts() {
    host::needs(&[host::PYTHON]);
    let floor = Disk::xfs(1 << 30);
    let disk = floor.ext4_within(512 << 20);
    let settings = ["free_disk_floor=1", "build.disk=32MB"];
    let platform = Platform::start_in(&disk.path(), &settings);
    assert_eq!(platform.api("POST", "/apps", &json!({"name": "mixed"})).0, 201);
    let files = [("Procfile", "worker: exec sleep 1000\n")];
    Checkout::new(&platform, "mixed", &files).push().accepted();
    let cuts = cut(&platform, &disk);
    let data = platform.data().strip_prefix(disk.path()).unwrap().to_owned();
    drop(platform);

    for cut in cuts {
        let acknowledged = &cut.acknowledged;
        let data = cut.disk.path().join(&data);
        check_file(&data);
        let revived = Platform::revive(&data, &settings);
        let get = |path: &str| {
            let (status, answer) = revived.api("GET", path, &Value::Null);
            assert_eq!(status, 200, "{path}: {answer}\nacknowledged: {acknowledged:?}");
            answer
        };
        for (version, vars) in &acknowledged.releases {
            assert_eq!(get(&format!("/apps/mixed/releases/{version}/config-vars")), *vars);
        }
        for token in &acknowledged.tokens {
            get(&format!("/oauth/authorizations/{token}"));
        }
        let quantity = get("/apps/mixed/formation/worker")["quantity"].as_u64().unwrap();
        assert!(cut.may_be(quantity), "{quantity} after {acknowledged:?}");
        let (status, vars) = revived.api("PATCH", "/apps/mixed/config-vars", &json!({"ON": "1"}));
        assert_eq!((status, &vars["ON"]), (200, &json!("1")), "it goes on");
    }
}

/// A disk that fails every sync of one file, for as long as it lives.
struct BadDisk {
    strace: Child,
    said: Arc<Mutex<String>>,
}

impl BadDisk {
    fn under(process: u32, file: &Path, when: &str) -> Self {
        host::needs(&[host::STRACE]);
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &process.to_string(), "-P"])
            .arg(file)
            .args(["-e", "trace=fsync,fdatasync", "-e"])
            .arg(format!("inject=fsync,fdatasync:error=EIO{when}"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (mut stderr, into) = (BufReader::new(strace.stderr.take().unwrap()), said.clone());
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.by_ref().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                into.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        let bad = Self { strace, said };
        bad.until("attached");
        bad
    }

    fn until(&self, word: &str) {
        until(&format!("strace says {word:?}"), BOUND, || {
            self.said.lock().unwrap().contains(word).then_some(())
        });
    }

    fn mended(mut self) {
        signal(self.strace.id(), "INT");
        self.strace.wait().unwrap();
    }
}

/// fault S3: what a failed sync leaves is unknown. The platform says so, writes nothing until it
/// has looked, and has lost nothing of what it acknowledged.
#[test]
fn a_failed_sync_acknowledges_nothing_and_loses_nothing() {
    let mut platform = Platform::start();
    assert_eq!(platform.api("POST", "/apps", &json!({"name": "sync"})).0, 201);
    let web = ("Procfile", "web: python3 -m http.server $PORT\n");
    Checkout::new(&platform, "sync", &[web]).push().accepted();
    let set = |platform: &Platform, name: &str| {
        let vars = json!({ name: "1" });
        let (status, answer) = platform.api("PATCH", "/apps/sync/config-vars", &vars);
        (status, answer["message"].as_str().unwrap_or_default().to_owned())
    };
    let has = |platform: &Platform, name: &str| {
        let (status, vars) = platform.api("GET", "/apps/sync/config-vars", &Value::Null);
        assert_eq!(status, 200, "{vars}");
        !vars[name].is_null()
    };
    // Until then the platform has something of its own to write.
    let serves = |platform: &Platform| {
        until("the last release serves", BOUND, || {
            let (_, releases) = platform.api("GET", "/apps/sync/releases", &Value::Null);
            let mut releases = releases.as_array()?.iter();
            releases.all(|release| release["status"] != "pending").then_some(())
        });
    };
    assert_eq!(set(&platform, "BEFORE").0, 200);
    serves(&platform);
    let log = platform.data().join("state.db-wal");

    let disk = BadDisk::under(platform.pid(), &log, "");
    let (status, why) = set(&platform, "FAILED");
    assert!(status == 500 && why.contains("not known"), "{status} {why}");
    disk.until("INJECTED");
    let (status, why) = set(&platform, "REFUSED");
    assert!(status == 503 && why.contains("nothing can be changed"), "{status} {why}");
    assert!(has(&platform, "BEFORE") && !has(&platform, "REFUSED"), "reads go on");
    assert_eq!(platform.app("sync", "/").status, 200);
    disk.mended();
    until("it is written again", BOUND, || (set(&platform, "AFTER").0 == 200).then_some(()));
    until("it is told", BOUND, || {
        platform.log().contains("the state is sound and written again").then_some(())
    });

    // One failure, one operation: ours.
    serves(&platform);
    let disk = BadDisk::under(platform.pid(), &log, ":when=1");
    assert_eq!(set(&platform, "ONCE").0, 500);
    assert_eq!(set(&platform, "AT_ONCE").0, 200);
    disk.mended();

    platform.kill();
    platform.up();
    for name in ["BEFORE", "AFTER", "AT_ONCE"] {
        assert!(has(&platform, name), "{name} was acknowledged");
    }
    assert!(!has(&platform, "REFUSED"));
    check_file(platform.data());
    assert_eq!(platform.app("sync", "/").status, 200);
}
