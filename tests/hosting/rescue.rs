//! What is damaged is not run; and a data directory from which a platform is brought back by hand.

use super::{BOUND, BRIEF, answers, good, release, releases, settled};
use lathe_tests::{Platform, lathe, until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use walkdir::WalkDir;

fn runs(platform: &Platform) -> Value {
    until("it answers", BOUND, || answers(platform).then_some(()));
    platform.api("GET", "/apps/lathe/dynos", &Value::Null).1[0]["release"]["version"].clone()
}

/// `lathe rescue`, and what it says.
fn rescue(platform: &Platform, words: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } =
        platform.command().arg("rescue").args(words).output().unwrap();
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// Faults B6 and B7: what is not what it was is not run, and there is always a program that can be.
#[test]
fn versions_that_are_damaged_are_not_run_and_a_platform_can_be_rescued() {
    let mut platform = Platform::start_self_hosted(&BRIEF);
    let number = release(&platform, &good());
    assert_eq!(settled(&platform, number)["status"], "succeeded");
    assert_eq!(runs(&platform), number);

    // A slug that was changed in the store: found before it is unpacked.
    let third = {
        let types = json!({"platform": "bin/lathe up"});
        let script = good().replace("exec", "true && exec");
        platform.upload("lathe", &types, &[("bin/lathe", &script)])
    };
    let digest = third["checksum"].as_str().unwrap().trim_start_matches("SHA256:");
    damage(&platform.data().join("slugs"), digest);
    let made = platform.post("/apps/lathe/releases", &json!({"slug": third["id"]}));
    let refused = settled(&platform, made["version"].as_u64().unwrap());
    assert_eq!(refused["status"], "failed", "{refused}");
    let why = refused["failure"].as_str().unwrap();
    assert!(why.contains("cannot be laid out"), "{why}");

    // The good one's program is not what it was, though it could be run: the program of the keeper serves.
    platform.stop();
    let seat = platform.data().join("seat");
    let tree = std::fs::read_dir(&seat).unwrap().flatten().map(|entry| entry.path());
    let tree = tree.filter(|path| path.join("app").is_dir()).collect::<Vec<_>>();
    let program = tree[0].join("app/bin/lathe");
    let changed = std::fs::read_to_string(&program).unwrap().replace("exec", "exit 3; exec");
    std::fs::write(&program, changed).unwrap();
    platform.up();
    assert_eq!(runs(&platform), 1);
    platform.stop();
    assert!(rescue(&platform, &[]).1.contains("lathe rescue own"));
    // Nobody can read what the keeper has written down: it is not guessed.
    std::fs::write(seat.join("seat.json"), "nonsense").unwrap();
    let (fine, said) = rescue(&platform, &[]);
    assert!(!fine && said.contains("nothing is started until one is chosen"), "{said}");
    assert!(said.contains("lathe rescue own") && !said.contains("starts everything"), "{said}");
    assert!(rescue(&platform, &["own"]).0);
    platform.up();
    assert_eq!(runs(&platform), 1);
    let next = release(&platform, &good().replace("exec", "true; exec"));
    assert_eq!(settled(&platform, next)["status"], "succeeded");
    assert_eq!(runs(&platform), next);
    choose(&mut platform, number, next);
}

/// A restore in the midst of a trial stays: the end of the trial does not put anything back over it.
#[test]
fn a_restore_ends_a_trial_for_good() {
    let mut platform = Platform::start_self_hosted(&[
        "upgrade.rehearsal=0",
        "upgrade.start=60",
        "upgrade.probation=600",
        "upgrade.silence=60",
    ]);
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("backup.tar");
    assert!(platform.command().arg("backup").arg(&file).status().unwrap().success());
    let before = platform.holder();
    release(&platform, &good());
    until("v2 is on trial", BOUND, || (platform.holder() != before).then_some(()));
    let (done, said) = rescue(&platform, &["restore", file.to_str().unwrap()]);
    assert!(!done && said.contains("lathe stop"), "while it is kept: {said}");
    platform.stop();
    let (done, said) = rescue(&platform, &["restore", file.to_str().unwrap()]);
    assert!(done && said.contains("Start it with `lathe up --self-hosted`"), "{said}");
    let seat = platform.data().join("seat");
    let left = std::fs::read_dir(&seat).unwrap().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("before-")).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new());
    platform.up();
    until("it answers", BOUND, || answers(&platform).then_some(()));
    assert_eq!(releases(&platform).len(), 1, "it is that of the backup");
}

/// To a program that is older than the state, as one that was installed is after an upgrade by push, the
/// platform's own is named, and nothing is advised that would end it.
fn is_older(platform: &Platform, good: u64) {
    let version = |of: &str| {
        let script = format!(
            "import sqlite3, sys; state = sqlite3.connect(sys.argv[1])\n\
             print(state.execute('PRAGMA user_version').fetchone()[0])\n\
             state.execute('PRAGMA user_version = {of}') if '{of}' else None\n"
        );
        let state = platform.data().join("state.db");
        let set = Command::new("python3").args(["-c", &script]).arg(state).output().unwrap();
        assert!(set.status.success());
        String::from_utf8(set.stdout).unwrap().trim().to_owned()
    };
    let was = version("99");
    let (sound, said) = rescue(platform, &[]);
    assert!(sound && said.contains(&format!("good: v{good}: can start")), "{said}");
    for expected in ["rescue is the platform's own", "lathe up --self-hosted"] {
        assert!(said.contains(expected), "no {expected:?} in {said}");
    }
    assert!(!said.contains("rescue restore") && !said.contains("rescue own"), "{said}");
    let (done, said) = rescue(platform, &["own"]);
    assert!(!done && said.contains("of a newer program"), "{said}");
    version(&was);
}

/// A version that was good once is the platform again, by its number, also when nobody can read the state.
fn choose(platform: &mut Platform, earlier: u64, later: u64) {
    let [earlier_name, later_name] = [earlier, later].map(|number| format!("v{number}"));
    let (done, said) = rescue(platform, &["release", &earlier_name]);
    assert!(!done && said.contains("lathe stop"), "while it is kept: {said}");
    platform.stop();
    let (sound, said) = rescue(platform, &[]);
    assert!(sound && said.contains("lathe up --self-hosted "), "{said}");
    is_older(platform, later);
    let listed = format!("makes one that was good once: {earlier_name} {later_name}\n");
    for expected in ["state.db: sound", &format!("good: {later_name}: can start"), &listed] {
        assert!(said.contains(expected), "no {expected:?} in {said}");
    }
    let (done, said) = rescue(platform, &["release", "v99"]);
    assert!(!done && said.contains("no version v99 is known"), "{said}");
    let (done, said) = rescue(platform, &["release", &earlier_name]);
    assert!(done, "{said}");

    // What the keeper has written down is there without a state.
    let state = platform.data().join("state.db");
    let whole = std::fs::read(&state).unwrap();
    std::fs::write(&state, "nonsense").unwrap();
    let (done, said) = rescue(platform, &["release", &later_name]);
    assert!(done, "it was judged last: {said}");
    let (done, said) = rescue(platform, &["release", &earlier_name]);
    assert!(!done && said.contains("cannot be read"), "{said}");
    std::fs::write(&state, whole).unwrap();
    assert!(rescue(platform, &["release", &earlier_name]).0);
    platform.up();
    assert_eq!(runs(platform), earlier);
    let made = platform.post("/apps/lathe/releases", &json!({"release": earlier_name}));
    let made = made["version"].as_u64().unwrap();
    let back = settled(platform, made);
    assert_eq!(back["status"], "succeeded", "a rollback like that of any app: {back}");
    assert_eq!(back["current"], true);
    assert_eq!(runs(platform), made);
    restored_elsewhere(platform, made);
}

/// On an empty machine it is said which version it was, and that one can be chosen.
fn restored_elsewhere(platform: &Platform, good: u64) {
    let room = tempfile::tempdir().unwrap();
    let (file, data) = (room.path().join("backup.tar"), room.path().join("data"));
    assert!(platform.command().arg("backup").arg(&file).status().unwrap().success());
    let run = |words: &[&str]| {
        let mut lathe = Command::new(lathe());
        let Output { status, stdout, stderr } =
            lathe.arg("--data").arg(&data).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        assert!(status.success(), "{words:?}: {said}");
        said
    };
    let said = run(&["restore", file.to_str().unwrap()]);
    assert!(said.contains(&format!("`lathe rescue release v{good}`")), "{said}");
    run(&["rescue", "release", &format!("v{good}")]);
    let said = run(&["rescue"]);
    assert!(said.contains(&format!("good: v{good}: can start")), "{said}");
}

/// Flips a byte of the stored slug of that digest.
fn damage(store: &Path, digest: &str) {
    let mut files = WalkDir::new(store).into_iter().flatten();
    let is_it = |entry: &walkdir::DirEntry| {
        let path = entry.path();
        path.to_string_lossy().contains(digest) && path.extension().is_some_and(|end| end == "tgz")
    };
    let file = files.find(is_it).expect("the slug is stored");
    let mut bytes = std::fs::read(file.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file.path(), bytes).unwrap();
}
