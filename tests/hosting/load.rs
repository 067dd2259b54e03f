//! An upgrade by push under load: requests, a WebSocket, a stream, and the log's counts.

use super::{BOUND, HASTY, releases, settled};
use crate::routing::apart::{Line, Visitors, accounted, all_answered, deploy, lines};
use lathe_tests::{Checkout, Platform, lathe, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const PROCFILE: &str =
    "platform: bin/lathe up\nkeeper: bin/lathe up --self-hosted\nrouter: bin/lathe router\n";
const VISITS: usize = 10_000;

/// A checkout of a version whose program is a real one: that of this test run, without symbols.
fn checkout(platform: &Platform) -> Checkout {
    let checkout = Checkout::new(platform, "lathe", &[("Procfile", PROCFILE)]);
    let program = checkout.path().join("bin/lathe");
    std::fs::create_dir(program.parent().unwrap()).unwrap();
    let mut strip = Command::new("strip");
    assert!(
        strip.args(["--strip-all", "-o"]).args([&program, &lathe()]).status().unwrap().success()
    );
    checkout.commit(&[]);
    checkout
}

/// A WebSocket that is answered and a stream that flows, all the time: silence would end the former.
struct Lasting {
    told: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Lasting {
    fn begin(router: SocketAddr) -> Self {
        let (mut socket, mut stream) = (Line::web_socket(router), Line::stream(router));
        let told = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&told);
        let thread = std::thread::spawn(move || {
            let mut times = 0;
            while !until.load(Ordering::Relaxed) {
                socket.echoes(&format!("word {times}"));
                stream.flows();
                times += 1;
            }
            times
        });
        Self { told, thread }
    }

    /// How often both went on.
    fn end(self) -> usize {
        self.told.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn program_of(pid: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

fn is_in_a_slug(platform: &Platform, program: &Path) -> bool {
    program.starts_with(platform.data().join("seat")) && program.ends_with("app/bin/lathe")
}

/// Fault R14: a push makes another platform, another keeper and another router, and a config var that
/// does not work is taken back; more than ten thousand requests, a WebSocket and a stream go on over
/// both, dynos are the same, every request has its line, and an app's log is the app's.
#[test]
fn an_upgrade_by_push_under_load_loses_nothing() {
    let platform = Platform::start_self_hosted(&HASTY);
    deploy(&platform);
    let checkout = checkout(&platform);
    let router = platform.address("router");
    let lasting = Lasting::begin(router);
    let (dynos, routers) = (platform.dynos(), platform.routers());
    let (before, _) = lines(&platform);
    let visitors = Visitors::come(router);
    let keeper = platform.pid();
    assert!(!is_in_a_slug(&platform, &program_of(keeper)));

    let pushed = checkout.push().accepted();
    assert!(pushed.transcript.contains("Released v2"), "{}", pushed.transcript);
    let kept = settled(&platform, 2);
    assert_eq!(kept["status"], "succeeded", "{kept}\n{}", platform.log());
    for (what, pid) in [("keeper", platform.pid()), ("platform", platform.holder())] {
        assert!(is_in_a_slug(&platform, &program_of(pid)), "{what}: {:?}", program_of(pid));
    }
    assert_eq!(platform.pid(), keeper, "the same process");
    until("another router serves, from the slug", BOUND, || {
        let ps = platform.api("GET", "/apps/lathe/dynos", &Value::Null).1;
        let serving = ps.as_array()?.iter().find(|one| one["name"] == "router.1")?.clone();
        let is_it = serving["release"]["version"] == 2 && serving["state"] == "up";
        (is_it && serving["command"] == "bin/lathe router").then_some(())
    });

    // The slug is good; with this it finds no program on the machine.
    let sour = json!({"PATH": "/nowhere"});
    let (status, answer) = platform.api("PATCH", "/apps/lathe/config-vars", &sour);
    assert_eq!(status, 200, "{answer}");
    let back = settled(&platform, 3);
    assert_eq!(back["status"], "failed", "{back}\n{}", platform.log());
    let current: Vec<Value> =
        releases(&platform).into_iter().filter(|one| one["current"] == true).collect();
    assert_eq!(current[0]["version"], 2);
    let vars = platform.api("GET", "/apps/lathe/config-vars", &Value::Null).1;
    assert_eq!(vars, json!({}), "what failed is not what the next release is made from");

    until("ten thousand have come", BOUND * 5, || (visitors.count() >= VISITS).then_some(()));
    let visits = visitors.go();
    all_answered("an upgrade by push, and one that was taken back", &visits);
    accounted(&platform, before, &visits);
    assert_eq!(platform.dynos(), dynos, "nobody's dynos were touched");
    eprintln!("{} times a WebSocket was answered and a stream went on", lasting.end());
    until("the first router has gone", BOUND, || {
        platform.routers().iter().all(|pid| !routers.contains(pid)).then_some(())
    });
    let log = platform.logs("lathe");
    for part in ["app[api]: Release v2 is put on trial", "heroku[platform.1]: State changed"] {
        assert!(log.contains(part), "{log}");
    }
    assert!(!platform.logs("apart").contains("platform.1"));
}
