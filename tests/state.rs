//! What is written down: kept when the disk is full or the power goes, refused when it is damaged,
//! held by one platform at a time, and cleared of what belongs to nobody.
//! The rows named are those of the project's table of faults.

use lathe_tests::{Checkout, Disk, Platform, cgroups_of_pids, until};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(1);
const PROCFILE: (&str, &str) = ("Procfile", "web: python3 -m http.server $PORT\n");

fn create(platform: &Platform, app: &str) {
    assert_eq!(platform.api("POST", "/apps", &json!({"name": app})).0, 201);
}

fn deploy(platform: &Platform, app: &str) -> Checkout {
    create(platform, app);
    let checkout = Checkout::new(platform, app, &[PROCFILE]);
    checkout.push().accepted();
    checkout
}

/// `lathe up` that is expected to refuse: it ends by itself.
fn refused(platform: &Platform) -> String {
    let up = platform.command();
    let mut bounded = Command::new("timeout");
    bounded.arg("120").arg(up.get_program()).args(up.get_args()).arg("up");
    let Output { status, stderr, .. } = bounded.output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "it came up: {said}");
    said
}

/// Processes that were told of this directory.
fn processes_of(data: &Path) -> Vec<String> {
    let lines = fs::read_dir("/proc").unwrap().flatten();
    let lines = lines.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(data.to_str().unwrap())).collect()
}

/// Makes the state one file.
fn fold_log_into(path: &Path) {
    let program = "import sqlite3, sys\n\
                   sqlite3.connect(sys.argv[1]).execute('PRAGMA wal_checkpoint(TRUNCATE)')";
    let folded = Command::new("python3").args(["-c", program]).arg(path).status();
    assert!(folded.unwrap().success());
}

#[test]
fn a_platform_that_does_not_come_up_leaves_nothing_running() {
    let mut platform = Platform::start();
    platform.stop();
    let ended = platform.command().args(["stop", "--stop-dynos"]).status();
    assert!(ended.unwrap().success());
    // Where it is reached is said last of all, when everything else is there.
    let blocked = platform.data().join("run/endpoints.json");
    fs::create_dir_all(blocked.join("by")).unwrap();
    let said = refused(&platform);
    assert!(said.contains("could not be prepared"), "{said}");
    until("nothing of it runs", BOUND, || processes_of(platform.data()).is_empty().then_some(()));
    fs::remove_dir_all(&blocked).unwrap();
    platform.up();
    assert_eq!(platform.api("GET", "/apps", &Value::Null).0, 200);
}

/// fault S7: a second platform on the same data says who has it, and disturbs nothing.
/// fault S4: a damaged state is left as it is, and apps are served without it, also after a reboot; with a
/// whole one everything is as it was, and by itself.
#[test]
fn one_platform_at_a_time_and_only_on_sound_state() {
    let mut platform = Platform::start();
    deploy(&platform, "sound");
    let dynos = platform.dynos();
    let said = refused(&platform);
    assert!(said.contains(&format!("in use by process {}", platform.pid())), "{said}");
    assert!(said.contains(" stop`"), "what to do: {said}");
    assert_eq!(platform.app("sound", "/").status, 200);

    platform.stop();
    let path = platform.data().join("state.db");
    // Else the log would make the file whole again.
    fold_log_into(&path);
    let whole = fs::read(&path).unwrap();
    let mut header = whole.clone();
    header[..16].fill(0);
    let mut pages = whole.clone();
    pages[4096..3 * 4096].fill(0xa5);
    for damaged in [header, pages] {
        fs::write(&path, &damaged).unwrap();
        platform.up();
        assert_eq!(platform.app("sound", "/").status, 200);
        assert_eq!(platform.dynos(), dynos, "dynos serve on");
        let (status, said) = platform.api("GET", "/apps", &Value::Null);
        assert_eq!(status, 503, "{said}");
        let said = said["message"].as_str().unwrap().to_owned();
        assert!(said.contains("is damaged") && said.contains("lathe rescue"), "{said}");
        assert!(fs::read(&path).unwrap() == damaged, "the evidence was changed");
        platform.stop();
    }

    // All of it at once: the machine starts anew, and the state cannot be read.
    platform.up();
    platform.reboot();
    platform.up();
    let served = || (platform.app("sound", "/").status == 200).then_some(());
    until("it serves after a reboot without state", BOUND, served);
    assert_ne!(platform.dynos(), dynos);
    let dynos = platform.dynos();
    let rescued = platform.command().arg("rescue").output().unwrap();
    let said = String::from_utf8_lossy(&rescued.stdout).into_owned();
    assert_eq!(rescued.status.code(), Some(1), "{said}");
    for expected in [
        format!("=== platform: process {}\n", platform.pid()),
        "state.db: damaged: ".into(),
        "=== last-good: 1 dynos\nsound v2: web.1: can start\n".into(),
        "lathe rescue restore FILE".into(),
    ] {
        assert!(said.contains(&expected), "no {expected:?} in {said}");
    }

    let ups = || platform.log().matches("Lathe is up").count();
    let before = ups();
    // In one step, as a restore does it.
    let beside = path.with_extension("whole");
    fs::write(&beside, &whole).unwrap();
    fs::rename(&beside, &path).unwrap();
    until("a whole platform takes over", BOUND, || (ups() > before).then_some(()));
    assert_eq!(platform.api("GET", "/apps", &Value::Null).0, 200);
    assert_eq!(platform.dynos(), dynos);
    assert_eq!(platform.app("sound", "/").status, 200);
}

/// An older program leaves what a newer one has made alone, and says which it wants.
#[test]
fn an_older_program_refuses_a_newer_state() {
    let mut platform = Platform::start();
    platform.stop();
    let path = platform.data().join("state.db");
    let program = "import sqlite3, sys\n\
                   sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version = 99')";
    let set = Command::new("python3").args(["-c", program]).arg(&path).status();
    assert!(set.unwrap().success());
    let said = refused(&platform);
    assert!(said.contains("has schema 99") && said.contains("use the newer program"), "{said}");
}

/// fault S9: what belongs to nobody is removed at start; what belongs to somebody is not.
#[test]
fn orphans_are_swept_at_start() {
    let mut platform = Platform::start();
    deploy(&platform, "owner");
    let dynos = platform.dynos();
    let instance = platform.instance();
    platform.kill();

    let id = "5ca1ab1e-0000-4000-8000-000000000000";
    let cell = platform.data().join("cell");
    let group = cgroups_of_pids().join(format!("lathe-{instance}/{id}"));
    fs::create_dir(&group).unwrap();
    let mut stray = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    fs::write(group.join("cgroup.procs"), stray.id().to_string()).unwrap();
    let record = cell.join("dynos").join(id);
    fs::create_dir(&record).unwrap();
    let tree = cell.join("slugs/stray/app");
    fs::create_dir_all(&tree).unwrap();
    let repository = platform.data().join("git/stray.new-1");
    fs::create_dir_all(&repository).unwrap();
    let link = format!("l{instance}-fff");
    ip(&["link", "add", &link, "type", "veth", "peer", "name", &format!("p{instance}")]);
    let mounted = cell.join("scratch");
    let mount = Command::new("mount").args(["-t", "tmpfs", "stray"]).arg(&mounted).status();
    assert!(mount.unwrap().success());

    platform.up();
    until("the stray process is ended", BOUND, || stray.try_wait().unwrap());
    for path in [&group, &record, &tree, &repository] {
        until(&format!("{} is gone", path.display()), BOUND, || (!path.exists()).then_some(()));
    }
    let link = Path::new("/sys/class/net").join(link);
    until("the link is gone", BOUND, || (!link.exists()).then_some(()));
    until("the stray mount is gone", BOUND, || {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        (!mounts.contains(mounted.to_str().unwrap())).then_some(())
    });
    assert_eq!(platform.dynos(), dynos);
    assert_eq!(platform.app("owner", "/").status, 200);
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Leaves `bytes` free on the disk of `dir`; the file that takes the rest goes when dropped.
fn fill(dir: &Path, bytes: u64) -> tempfile::NamedTempFile {
    let filler = tempfile::NamedTempFile::new_in(dir).unwrap();
    let df = Command::new("df").args(["--output=avail", "-B1"]).arg(dir).output().unwrap();
    let df = String::from_utf8(df.stdout).unwrap();
    let free: u64 = df.lines().nth(1).unwrap().trim().parse().unwrap();
    let length = free.saturating_sub(bytes).to_string();
    let path = filler.path();
    // The last blocks may be the file system's own: then it is as full as it gets.
    drop(Command::new("fallocate").args(["-l", &length]).arg(path).output());
    if bytes == 0 {
        let out = fs::OpenOptions::new().append(true).open(path).unwrap();
        drop(Command::new("cat").arg("/dev/zero").stdout(out).stderr(Stdio::null()).status());
    }
    filler
}

/// fault S2: a disk that fills up refuses what is new and keeps what is there serving; with room again
/// everything goes on.
#[test]
fn a_full_disk_refuses_writes_and_goes_on_reading() {
    let disk = Disk::ext4(256 << 20);
    let settings = ["free_disk_floor=16MB", "build.disk=64MB", "build.cache=32MB"];
    let mut platform = Platform::start_in(&disk.path(), &settings);
    let checkout = deploy(&platform, "full");
    let dynos = platform.dynos();
    let config = |platform: &Platform, value: &str| {
        platform.api("PATCH", "/apps/full/config-vars", &json!({ "K": value })).0
    };

    let filler = fill(&disk.path(), 8 << 20);
    checkout.commit(&[("new", "1")]);
    checkout.push().rejected(&["disk is nearly full", "floor 16.0 MB", "free_disk_floor"]);
    assert_eq!(platform.app("full", "/").status, 200);
    drop(filler);

    let mut fillers = Vec::new();
    // What runs may give room back: the disk is filled again until a write is refused.
    let refused = (0..10).any(|_| {
        fillers.push(fill(&disk.path(), 0));
        let answers: Vec<u16> = (0..40).map(|n| config(&platform, &"x".repeat(2000 + n))).collect();
        answers.iter().any(|status| *status >= 500)
    });
    assert!(refused, "the disk is not full");
    let reads = |platform: &Platform| {
        assert_eq!(platform.app("full", "/").status, 200);
        assert_eq!(platform.api("GET", "/apps/full/releases", &Value::Null).0, 200);
        assert_eq!(platform.dynos().len(), dynos.len());
    };
    reads(&platform);
    // A start has room kept back for what it writes down; the dynos do not notice.
    platform.kill();
    platform.up();
    assert!(platform.log().contains("is full"), "{}", platform.log());
    assert_eq!(platform.dynos(), dynos);
    until("it serves", BOUND, || (platform.app("full", "/").status == 200).then_some(()));
    reads(&platform);
    checkout.repoint(&platform);
    checkout.push().rejected(&["disk is nearly full"]);

    drop(fillers);
    reads(&platform);
    assert_eq!(config(&platform, "room"), 200);
    let (_, vars) = platform.api("GET", "/apps/full/config-vars", &Value::Null);
    assert_eq!(vars["K"], "room");
    checkout.push().accepted();
    until("it serves", BOUND, || (platform.app("full", "/").status == 200).then_some(()));
}
