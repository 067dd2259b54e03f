//! What is damaged is not run; and a data directory from which a platform is brought back by hand.

use super::{BOUND, BRIEF, answers, good, release, settled};
use lathe_tests::{Platform, until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
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

    // The good one's program is gone: the program of the keeper serves.
    platform.stop();
    let seat = platform.data().join("seat");
    let tree = std::fs::read_dir(&seat).unwrap().flatten().map(|entry| entry.path());
    let tree = tree.filter(|path| path.join("app").is_dir()).collect::<Vec<_>>();
    std::fs::write(tree[0].join("app/bin/lathe"), "not a program").unwrap();
    platform.up();
    assert_eq!(runs(&platform), 1);
    platform.stop();
    assert!(rescue(&platform, &[]).1.contains("lathe rescue own"));
    assert!(rescue(&platform, &["own"]).0);
    platform.up();
    assert_eq!(runs(&platform), 1);
    let next = release(&platform, &good().replace("exec", "true; exec"));
    assert_eq!(settled(&platform, next)["status"], "succeeded");
    assert_eq!(runs(&platform), next);
    choose(&mut platform, number, next);
}

/// A version that was good once is the platform again, by its number, also when nobody can read the state.
fn choose(platform: &mut Platform, earlier: u64, later: u64) {
    let [earlier_name, later_name] = [earlier, later].map(|number| format!("v{number}"));
    let (done, said) = rescue(platform, &["release", &earlier_name]);
    assert!(!done && said.contains("lathe stop"), "while it is kept: {said}");
    platform.stop();
    let (sound, said) = rescue(platform, &[]);
    assert!(sound, "{said}");
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
