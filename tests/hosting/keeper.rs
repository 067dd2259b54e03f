//! The keeper comes with the version it keeps: it becomes its program, and is taken back with it.

use super::{BOUND, HASTIER, Visitors, good, release, releases, serve, settled};
use lathe_tests::{Platform, lathe, until};
use serde_json::{Value, json};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// The program of this test run; where a word of its command line is this one, what is said instead.
fn good_but(word: &str, instead: &str) -> String {
    let real = lathe().display().to_string();
    format!(
        "#!/bin/sh\nfor word in \"$@\"; do [ \"$word\" != {word} ] || {{ {instead}; }}; done\n\
         exec {real} \"$@\"\n"
    )
}

/// Fault B2: a version whose router does not serve is taken back; the router before serves meanwhile.
/// A service manager hears that the platform is ready, from the keeper; told to stop, both end.
#[test]
fn a_version_whose_router_is_no_good_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(BOUND)).unwrap();
    let socket = folder.path().join("notify").display().to_string();
    let environment = [("NOTIFY_SOCKET".to_owned(), socket)];
    let mut platform = Platform::start_self_hosted_within(&environment, &HASTIER);
    let mut heard = [0; 16];
    let length = manager.recv(&mut heard).unwrap();
    assert_eq!(&heard[..length], b"READY=1\n");

    let types = json!({"platform": "bin/lathe up", "router": "bin/router router"});
    let files = [("bin/lathe", good()), ("bin/router", "#!/bin/sh\nexit 7\n".to_owned())];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let routers = platform.routers();
    let number = platform.release("lathe", &types, &files);
    let back = settled(&platform, number);
    assert_eq!(back["status"], "failed", "{back}\n{}", platform.log());
    // What was seen of it last: on a slow machine perhaps no answer in time.
    let why = back["failure"].as_str().unwrap();
    let reasons = ["its router does not serve", "gives no answer"];
    assert!(reasons.iter().any(|reason| why.contains(reason)), "{back}");
    until("the same one all the time", BOUND, || (platform.routers() == routers).then_some(()));
    let holder = platform.holder();
    platform.stop();
    assert!(!Path::new(&format!("/proc/{holder}")).exists(), "its platform has ended before it");
    // Without its state it serves, and says so: who waits for it would wait for ever.
    platform.damage_state();
    platform.up();
    let length = manager.recv(&mut heard).unwrap();
    assert_eq!(&heard[..length], b"READY=1\n");
}

/// Which process of the platform is of which release, as `heroku ps` shows it.
fn version_of(platform: &Platform, part: &str) -> Value {
    let (status, ps) = platform.api("GET", "/apps/lathe/dynos", &Value::Null);
    assert_eq!(status, 200, "{ps}");
    let found = ps.as_array().unwrap().iter().find(|one| one["name"] == part).cloned();
    found.map_or(Value::Null, |one| one["release"]["version"].clone())
}

/// Fault B2: a version whose keeper cannot read the seat, ends at once, or hangs, is taken back; the
/// one before is the platform, with its own keeper, and an app is answered all the time.
#[test]
fn a_version_whose_keeper_is_no_good_is_taken_back() {
    let mut platform = Platform::start_self_hosted(&HASTIER);
    serve(&platform, "visited");
    let visitors = Visitors::start(platform.address("router"), "visited");
    let first = platform.holder();
    let number = release(&platform, &good());
    let kept = settled(&platform, number);
    assert_eq!(kept["status"], "succeeded", "{kept}\n{}", platform.log());
    assert_ne!(platform.holder(), first);
    assert_eq!(version_of(&platform, "keeper.1"), number);

    let bad = [
        ("heir", "echo no such seat >&2; exit 4", "no such seat", false),
        ("--self-hosted", "exit 9", "Its keeper ended in its probation", true),
        ("--self-hosted", "exec sleep 1000", "Its keeper ended in its probation", true),
    ];
    for (word, instead, why, ends) in bad {
        let next = release(&platform, &good_but(word, instead));
        if ends {
            // Whoever has started the keeper starts another one: a service manager, or this test.
            platform.another_keeper();
        }
        let back = settled(&platform, next);
        let failure = back["failure"].as_str().unwrap_or_default();
        assert_eq!(back["status"], "failed", "{instead}: {back}\n{}", platform.log());
        assert!(failure.contains(why), "{instead}: {failure}");
        let current: Vec<Value> =
            releases(&platform).into_iter().filter(|one| one["current"] == true).collect();
        assert_eq!(current[0]["version"], number, "{instead}");
        until("the keeper is of the good version", BOUND, || {
            (version_of(&platform, "keeper.1") == number).then_some(())
        });
    }
    let visits = visitors.end();
    eprintln!("{visits} visits to an app while three keepers were tried, all of them answered");
}
