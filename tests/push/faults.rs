//! Full disks, kills, power cuts and silence in the middle of a push.

use super::{
    PLAIN, borrowed, building, builds, create, main_of, nap, quarantined, repository, sleeping,
    versions,
};
use lathe_tests::{Checkout, Disk, Platform, ZERO, commands, noise, rest, until};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(1);

/// fault G9.
#[test]
fn a_full_disk_refuses_the_push_and_nothing_else() {
    let disk = Disk::ext4(160 << 20);
    let settings = ["free_disk_floor=1", "build.disk=32MB"];
    let mut platform = Platform::start_in(&disk.path(), &settings);
    create(&platform, "full");
    let checkout = Checkout::new(&platform, "full", PLAIN);
    checkout.push().accepted();
    let good = checkout.head();
    fill(&disk.path(), 28 << 20);
    std::fs::write(checkout.path().join("noise"), noise(34 << 20)).unwrap();
    checkout.commit(&[]);
    checkout.push().rejected(&["No space left on device"]);
    assert_eq!(main_of(&platform, "full").as_ref(), Some(&good));
    assert_eq!(versions(&platform, "full"), [1, 2]);
    assert!(quarantined(&platform, "full").is_empty());

    // Room for what the build makes, and none for the slug of it as well.
    checkout.git(&["reset", "-q", "--hard", &good]);
    checkout.commit(&borrowed(&building("head -c 20000000 /dev/urandom > \"$1/noise\"")));
    let refused =
        checkout.push().rejected(&["The platform's disk is full: the slug could not be stored."]);
    assert!(!refused.transcript.contains(".slugignore"), "{}", refused.transcript);
    let arriving = std::fs::read_dir(platform.data().join("slugs/incoming")).unwrap();
    assert_eq!(arriving.count(), 0);
    assert_eq!(versions(&platform, "full"), [1, 2]);

    assert_eq!(platform.api("DELETE", "/apps/full/build-cache", &Value::Null).0, 204);
    checkout.git(&["reset", "-q", "--hard", &good]);
    checkout.commit(&[("small", "1")]);
    checkout.push().accepted();

    platform.stop();
    platform.set("free_disk_floor=1GB");
    platform.up();
    checkout.repoint(&platform);
    checkout.commit(&[("small", "2")]);
    checkout.push().rejected(&["disk is nearly full", "floor 1000.0 MB"]);
    assert_eq!(versions(&platform, "full"), [1, 2, 3]);
}

/// Takes all of a file system but `left` bytes.
fn fill(root: &Path, left: u64) {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(root).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let free: u64 = text.lines().nth(1).unwrap().trim().parse().unwrap();
    let filler = root.join("filler");
    let length = (free - left).to_string();
    let status = Command::new("fallocate").args(["-l", &length]).arg(filler).status();
    assert!(status.unwrap().success());
}

/// fault G10.
#[test]
fn killed_in_the_middle_of_a_pack() {
    let mut platform = Platform::start();
    create(&platform, "cut");
    let checkout = Checkout::new(&platform, "cut", PLAIN);
    checkout.push().accepted();
    let good = checkout.head();
    std::fs::write(checkout.path().join("noise"), noise(2 << 20)).unwrap();
    checkout.commit(&[]);
    let list = commands(&[(&good, &checkout.head(), b"refs/heads/main")]);
    let body = [list, checkout.pack()].concat();
    let (part, remainder) = body.split_at(body.len() * 2 / 3);
    let taken_in = |platform: &Platform| {
        until("git takes it in", BOUND, || {
            (!quarantined(platform, "cut").is_empty()).then_some(())
        });
    };

    // Git alone.
    let mut stream = platform.begin_push("cut", part, body.len());
    taken_in(&platform);
    let name = repository(&platform, "cut").to_string_lossy().into_owned();
    kill("receive-pack", &name);
    // It may be told that git is gone before it has said all.
    drop(stream.write_all(remainder));
    let answer = rest(stream);
    assert!(!answer.contains("ok refs/heads/main"), "{answer}");
    let swept = |platform: &Platform| {
        until("what git left is swept", BOUND, || {
            quarantined(platform, "cut").is_empty().then_some(())
        });
    };
    swept(&platform);

    // The whole platform.
    let stream = platform.begin_push("cut", part, body.len());
    taken_in(&platform);
    platform.kill();
    assert_eq!(rest(stream), "");
    platform.up();
    swept(&platform);
    assert_eq!(main_of(&platform, "cut").as_ref(), Some(&good));
    assert_eq!(versions(&platform, "cut"), [1, 2]);
    checkout.repoint(&platform);
    checkout.push().accepted();
    assert_eq!(main_of(&platform, "cut"), Some(checkout.head()));
}

/// kill -9 of the process whose arguments hold both words.
fn kill(program: &str, argument: &str) {
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&cmdline).into_owned();
        if text.contains(program) && text.contains(argument) {
            let pid = entry.file_name();
            killed +=
                i32::from(Command::new("kill").arg("-9").arg(pid).status().unwrap().success());
        }
    }
    assert!(killed > 0, "no {program} to kill");
}

/// The platform is killed while a build runs: the push fails, the build is over and its dyno ended.
#[test]
fn killed_in_the_middle_of_a_build() {
    let mut platform = Platform::start();
    create(&platform, "mid");
    let files = building(&format!("sleep {}", nap(3)));
    let checkout = Checkout::new(&platform, "mid", &borrowed(&files));
    let pushed = std::thread::scope(|scope| {
        let push = scope.spawn(|| checkout.push());
        until("the build runs", BOUND, || sleeping(&nap(3)).then_some(()));
        platform.kill();
        push.join().unwrap()
    });
    pushed.rejected(&[]);
    platform.up();
    checkout.repoint(&platform);
    // Its ports are open a moment before it is ready; the API answers when it is.
    assert_eq!(builds(&platform, "mid"), ["failed"]);
    assert!(!sleeping(&nap(3)), "the build dyno is ended");
    assert_eq!((main_of(&platform, "mid"), versions(&platform, "mid")), (None, vec![1]));
    checkout.commit(&[("bin/compile", "#!/bin/sh\n")]);
    checkout.push().accepted();
}

/// fault G11: what was acknowledged is there after the power has been cut, at that very moment.
#[test]
fn an_acknowledged_push_survives_a_power_cut() {
    let floor = Disk::xfs(1 << 30);
    let disk = floor.ext4_within(512 << 20);
    let settings = ["free_disk_floor=1", "build.disk=32MB"];
    let platform = Platform::start_in(&disk.path(), &settings);
    create(&platform, "power");
    let checkout = Checkout::new(&platform, "power", PLAIN);
    let mut cuts = Vec::new();
    for round in 0..4 {
        checkout.commit(&[("round", &round.to_string())]);
        checkout.push().accepted();
        cuts.push((checkout.head(), disk.after_power_cut()));
    }
    let data = platform.data().strip_prefix(disk.path()).unwrap().to_owned();
    let repository = repository(&platform, "power");
    let repository = repository.strip_prefix(disk.path()).unwrap();
    for (commit, cut) in &cuts {
        let repository = cut.path().join(repository);
        let main = std::fs::read_to_string(repository.join("refs/heads/main")).unwrap();
        assert_eq!(main.trim(), commit);
        let path = repository.to_str().unwrap();
        checkout.git(&["-C", path, "-c", "safe.directory=*", "fsck", "--strict", commit]);
    }
    drop(platform);

    // And the platform that comes up on it knows the release and has its slug.
    for (round, (commit, cut)) in cuts.into_iter().enumerate() {
        if round % 3 != 0 {
            continue;
        }
        let revived = Platform::revive(&cut.path().join(&data), &settings);
        assert_eq!(versions(&revived, "power").last(), Some(&(round as u64 + 2)));
        let (_, slugs) = revived.api("GET", "/apps/power/releases", &Value::Null);
        let slug = slugs.as_array().unwrap().last().unwrap()["slug"]["id"].clone();
        let path = format!("/apps/power/slugs/{}", slug.as_str().unwrap());
        let (_, slug) = revived.api("GET", &path, &Value::Null);
        assert_eq!(slug["commit"], *commit);
        let digest = slug["checksum"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        assert!(has_slug(revived.data(), &digest), "{digest}");
    }
}

fn has_slug(data: &Path, digest: &str) -> bool {
    let sum = Command::new("sh")
        .args(["-c", "find \"$1\"/slugs -type f -exec sha256sum {} +", "sh"])
        .arg(data)
        .output()
        .unwrap();
    String::from_utf8_lossy(&sum.stdout).contains(digest)
}

/// A build that says nothing for long must not look like a dead connection.
#[test]
fn a_silent_build_keeps_the_connection_alive() {
    let platform = Platform::start();
    create(&platform, "silent");
    let files = building("sleep 11");
    let checkout = Checkout::new(&platform, "silent", &borrowed(&files));
    let list = commands(&[(ZERO, &checkout.head(), b"refs/heads/main")]);
    let body = [list, checkout.pack()].concat();
    let mut stream = platform.begin_push("silent", &body, body.len());
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("ok refs/heads/main"), "{text}");
    // Git's packet without content, every 5 s of silence. How late one comes on a loaded machine
    // says nothing, so they are counted.
    let (_, silence) = text.split_once("-----> Own app detected").unwrap();
    assert!(silence.contains("0005\u{1}"), "nothing came in 11 s of silence:\n{text}");
}
