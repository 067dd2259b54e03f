//! An upgrade on a disk that fills up meanwhile.

use super::bootstrap::is_on_trial;
use super::{BOUND, BRIEF, Visitors, answers, ask, good, release, serve, settled};
use lathe_tests::{Disk, Platform, signal, until};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Takes all that is left of a file system: most of it at once, before a version is through its trial.
fn fill(root: &Path) -> PathBuf {
    let path = root.join("filler");
    let df = Command::new("df").args(["--output=avail", "-B1"]).arg(root).output().unwrap();
    let df = String::from_utf8(df.stdout).unwrap();
    let free: u64 = df.lines().nth(1).unwrap().trim().parse().unwrap();
    let most = free.saturating_sub(1 << 20).to_string();
    // Others write, too: it need not be there any more.
    drop(Command::new("fallocate").args(["-l", &most]).arg(&path).output());
    let mut filler = File::options().create(true).append(true).open(&path).unwrap();
    for bytes in [1 << 20, 1 << 12, 1] {
        while filler.write_all(&vec![7; bytes]).is_ok() {}
    }
    path
}

fn current(platform: &Platform) -> (Value, Value) {
    let ps = platform.api("GET", "/apps/lathe/dynos", &Value::Null).1;
    let all = super::releases(platform);
    let current = all.iter().find(|one| one["current"] == true).unwrap();
    (current["version"].clone(), ps[0]["release"]["version"].clone())
}

/// Fault B5: the disk is full from the moment on in which a version is released, and from the moment on
/// in which it is put on trial. The version that runs can be started on the full disk, an app is answered
/// all the time, and with room again there is one good version, which a next one replaces.
#[test]
fn a_disk_that_fills_up_in_an_upgrade_leaves_a_version_that_runs() {
    let disk = Disk::ext4(128 << 20);
    let settings = [&BRIEF[..], &["free_disk_floor=1"]].concat();
    let platform = Platform::start_self_hosted_in(&disk.path(), &settings);
    serve(&platform, "visited");
    let visitors = Visitors::start(platform.address("router"), "visited");

    let number = release(&platform, &good());
    let filler = fill(&disk.path());
    let before = platform.holder();
    signal(before, "KILL");
    until("another one runs on the full disk", BOUND, || {
        (platform.holder() != before && answers(&platform)).then_some(())
    });
    std::fs::remove_file(filler).unwrap();
    let ended = settled(&platform, number);
    assert_eq!(ended["status"], "succeeded", "there is room again: {ended}\n{}", platform.log());

    let number = release(&platform, &good().replace("exec", "true; exec"));
    let path = format!("/apps/lathe/releases/{number}");
    let is_over = || ask(&platform, &path).is_some_and(|release| release["status"] != "pending");
    until("it is put on trial", BOUND, || (is_on_trial(&platform) || is_over()).then_some(()));
    let filler = fill(&disk.path());
    until("its fate is decided", BOUND, || (!is_on_trial(&platform)).then_some(()));
    std::fs::remove_file(filler).unwrap();
    let ended = settled(&platform, number);
    eprintln!("put on trial on a full disk: {} {}", ended["status"], ended["failure"]);
    let (listed, runs) = current(&platform);
    assert_eq!(listed, runs, "{ended}");
    let number = release(&platform, &good().replace("exec", "true && exec"));
    let kept = settled(&platform, number);
    assert_eq!(kept["status"], "succeeded", "{kept}\n{}", platform.log());
    visitors.end();
}
