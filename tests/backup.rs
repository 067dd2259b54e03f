//! The whole platform in one file, made under load, and made a platform again elsewhere.

use crate::survive::{BOUND, deploy};
use lathe_tests::{Checkout, Load, Platform, lathe, request, until};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// `lathe --data DIR VERB...`
fn run(data: &Path, verb: &[&str]) -> Output {
    Command::new(lathe()).arg("--data").arg(data).args(verb).output().unwrap()
}

fn said(output: &Output) -> String {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Everything of an app that a backup promises: releases, config, slugs by digest, refs.
fn whole(platform: &Platform, app: &str) -> Value {
    let get = |path: &str| {
        let (status, value) = platform.api("GET", path, &Value::Null);
        assert_eq!(status, 200, "{value}");
        value
    };
    let about = get(&format!("/apps/{app}"));
    let releases = get(&format!("/apps/{app}/releases"));
    let slugs: Vec<Value> = releases
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|release| {
            let id = release["slug"]["id"].as_str()?;
            Some(get(&format!("/apps/{app}/slugs/{id}"))["checksum"].clone())
        })
        .collect();
    let repo = platform.data().join(format!("git/{}.git", about["id"].as_str().unwrap()));
    let refs = Command::new("git").arg("--git-dir").arg(repo).arg("show-ref").output().unwrap();
    let versions: Vec<Value> = releases
        .as_array()
        .unwrap()
        .iter()
        .map(|release| {
            json!([release["id"], release["version"], release["status"], release["current"]])
        })
        .collect();
    json!({
        "id": about["id"],
        "releases": versions,
        "config": get(&format!("/apps/{app}/config-vars")),
        "formation": get(&format!("/apps/{app}/formation")),
        "slugs": slugs,
        "refs": String::from_utf8(refs.stdout).unwrap(),
    })
}

/// fault S8: a backup made while apps are served, configured and pushed to is the same platform elsewhere,
/// to the digest; what is damaged, newer or in the way is refused by name and changes nothing.
#[test]
fn a_backup_under_load_is_the_same_platform_on_an_empty_machine() {
    let platform = Platform::start();
    let checkout = deploy(&platform, "kept", "web: python3 web.py\n", &[]);
    let vars = json!({"SECRET": "of the old machine"});
    assert_eq!(platform.api("PATCH", "/apps/kept/config-vars", &vars).0, 200);
    assert_eq!(platform.api("POST", "/apps", &json!({"name": "empty"})).0, 201);
    until("the new config serves", BOUND, || {
        let (_, release) = platform.api("GET", "/apps/kept/releases/3", &Value::Null);
        (release["current"] == true).then_some(())
    });
    let before = whole(&platform, "kept");
    let load = Load::start({
        let router = platform.address("router");
        move || request(router, "GET", "kept.localhost", "/", &[], b"")
    });
    let room = tempfile::Builder::new().prefix("lathe-backup-").tempdir().unwrap();
    let file = room.path().join("backup.tar");
    let name = file.to_str().unwrap();
    // What one that was killed has left is removed.
    fs::create_dir(room.path().join(".lathe-backup-killed")).unwrap();
    fs::write(room.path().join(".lathe-backup-killed/state.db"), "secrets").unwrap();
    let machine = fs::read("/etc/machine-id").unwrap_or_default();
    fs::write(room.path().join(".lathe-backup-killed/.room"), machine).unwrap();
    let done = platform.command().args(["backup", name]).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let tally = load.end();
    assert!(tally.failed.is_empty() && tally.answered > 0, "{tally:?}");
    assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1, "something is left beside it");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "keys are in it");
    // What comes later is not in it.
    checkout.commit(&[("later", "1")]);
    checkout.push().accepted();

    refuses_what_is_no_backup(room.path(), &fs::read(&file).unwrap());
    let data = room.path().join("data");
    let done = run(platform.data(), &["restore", name]);
    assert!(said(&done).contains("is not empty") && !done.status.success(), "{}", said(&done));
    let done = run(&data, &["restore", name]);
    assert!(done.status.success(), "{}", said(&done));
    let mut other = Platform::revive(&data, &[]);
    assert_eq!(whole(&other, "kept"), before);
    assert_eq!(other.token(), platform.token());
    until("it serves there", BOUND, || (other.app("kept", "/").status == 200).then_some(()));
    // The same push goes on there as if nothing had been.
    checkout.repoint(&other);
    checkout.push().accepted();

    // And in the place of what is broken, with the dynos running on.
    other.stop();
    let dynos = other.dynos();
    fs::write(data.join("state.db"), b"nonsense").unwrap();
    let done = run(&data, &["rescue", "restore", name]);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(other.dynos(), dynos);
    other.up();
    assert_eq!(whole(&other, "kept"), before);
    until("it serves again", BOUND, || (other.app("kept", "/").status == 200).then_some(()));

    // A slug that a disk has lost keeps nobody from backing up the rest, and is named.
    let slugs = fs::read_dir(data.join("slugs")).unwrap().map(|entry| entry.unwrap().path());
    let slug = slugs.filter(|path| path.extension().is_some_and(|e| e == "tgz")).min().unwrap();
    fs::remove_file(&slug).unwrap();
    let done = run(&data, &["backup", name]);
    let lost = format!("Slug {} is lost", slug.file_stem().unwrap().display());
    assert!(done.status.success() && said(&done).contains(&lost), "{}", said(&done));
}

/// fault S8: whatever moment of a push a backup is made at, what it says is there is there.
#[test]
fn a_backup_in_the_middle_of_pushes_is_of_one_moment() {
    const PUSHES: usize = 5;
    let platform = Platform::start();
    let (status, app) = platform.api("POST", "/apps", &json!({"name": "moving"}));
    assert_eq!(status, 201, "{app}");
    let checkout = Checkout::new(&platform, "moving", &[("Procfile", "worker: sleep 1000\n")]);
    checkout.push().accepted();
    let room = tempfile::Builder::new().prefix("lathe-backup-").tempdir().unwrap();
    let mut made = 0;
    std::thread::scope(|scope| {
        let pusher = scope.spawn(|| {
            for push in 0..PUSHES {
                checkout.commit(&[("push", &push.to_string())]);
                checkout.push().accepted();
            }
        });
        while !pusher.is_finished() {
            let file = room.path().join(made.to_string());
            let done = platform.command().arg("backup").arg(&file).output().unwrap();
            assert!(done.status.success(), "{}", said(&done));
            made += 1;
        }
    });
    // The first, the last and one between: each is a platform that was.
    let mut counts = Vec::new();
    for backup in [0, made / 2, made - 1] {
        let data = room.path().join(format!("data-{}", counts.len()));
        let done = run(&data, &["restore", room.path().join(backup.to_string()).to_str().unwrap()]);
        assert!(done.status.success(), "{}", said(&done));
        counts.push(nothing_is_missing(&Platform::revive(&data, &[]), "moving"));
    }
    assert!(counts.is_sorted() && counts[2] <= PUSHES + 1, "{counts:?}");
}

/// Each release's slug can be had and its commit is in the repository, the last one's at the branch.
/// Returns the number of releases that have a slug.
fn nothing_is_missing(platform: &Platform, app: &str) -> usize {
    let get = |path: &str| platform.api("GET", path, &Value::Null).1;
    let id = get(&format!("/apps/{app}"))["id"].as_str().unwrap().to_owned();
    let repo = platform.data().join(format!("git/{id}.git"));
    let git = |arguments: &[&str]| {
        Command::new("git").arg("--git-dir").arg(&repo).args(arguments).output().unwrap()
    };
    let releases = get(&format!("/apps/{app}/releases"));
    let slugs: Vec<String> = releases
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|release| release["slug"]["id"].as_str().map(str::to_owned))
        .collect();
    for slug in &slugs {
        let slug = get(&format!("/apps/{app}/slugs/{slug}"));
        let commit = slug["commit"].as_str().unwrap_or_else(|| panic!("{slug}"));
        assert!(git(&["cat-file", "-e", &format!("{commit}^{{tree}}")]).status.success(), "{slug}");
        let digest = slug["checksum"].as_str().unwrap().trim_start_matches("SHA256:").to_owned();
        let path =
            lathe_slug::Store::path_in(&platform.data().join("slugs"), &digest.parse().unwrap());
        assert!(path.is_file(), "{}", path.display());
    }
    assert!(git(&["fsck", "--strict"]).status.success());
    slugs.len()
}

/// Each by its first wrong entry, and nothing is left of the try.
fn refuses_what_is_no_backup(room: &Path, whole: &[u8]) {
    let data = room.join("refused");
    let at = |needle: &[u8]| whole.windows(needle.len()).position(|part| part == needle).unwrap();
    let damaged = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let replaced = |from: &[u8], to: &[u8]| {
        let (mut bytes, at) = (whole.to_vec(), at(from));
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let state = at(b"SQLite format 3");
    let slug = at(b"slugs/") + 512 + 100;
    // By its header: the same letters may be anywhere before.
    let pack = at(b".pack\0") / 512 * 512 + 512 + 40;
    let cases = [
        (damaged(state + 5000), "damaged at its entry state.db"),
        (damaged(slug), "damaged at its entry slugs/"),
        (damaged(pack), ".pack: its bytes are not those"),
        (whole[..pack].to_vec(), ".pack: it is cut off"),
        (whole[..whole.len() / 512 * 512 - 4096].to_vec(), "damaged at its entry "),
        (replaced(b"\"schema\":", b"\"schema\":9"), "has schema 9, this program knows up to "),
        (replaced(b"\"format\":1", b"\"format\":7"), "format 7, this program reads 1"),
        (b"nothing of the kind".to_vec(), "is not a backup"),
    ];
    for (bytes, expected) in cases {
        let file = room.join("damaged.tar");
        fs::write(&file, bytes).unwrap();
        let done = run(&data, &["restore", file.to_str().unwrap()]);
        let said = said(&done);
        assert!(!done.status.success() && said.contains(expected), "no {expected:?} in {said}");
        let left: Vec<_> = fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "lock"), "{left:?}");
    }
}
