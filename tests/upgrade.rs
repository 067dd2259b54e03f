//! One platform after the other, told to stop or killed: whoever comes meanwhile is served.

use crate::survive::{BOUND, deploy};
use lathe_tests::{Platform, request_on, until};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What became of a request on a connection of its own.
#[derive(Clone, Copy, Debug)]
struct Visit {
    began: Instant,
    took: Duration,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Answered(u16),
    Refused,
    /// Somebody listened, and yet there was no answer.
    Lost,
}

fn visit(router: SocketAddr, path: &str) -> Visit {
    let began = Instant::now();
    let end = match TcpStream::connect(router) {
        Err(_) => End::Refused,
        Ok(stream) => {
            let answer = request_on(stream, "GET", "upgrade.localhost", path, &[], b"");
            answer.map_or(End::Lost, |answer| End::Answered(answer.status))
        }
    };
    Visit { began, took: began.elapsed(), end }
}

/// Visitors, several at a time, each on a connection of its own, until `told`.
fn visitors(router: SocketAddr, told: &Arc<AtomicBool>) -> Vec<JoinHandle<Vec<Visit>>> {
    let come = |told: Arc<AtomicBool>| {
        std::thread::spawn(move || {
            let mut visits = Vec::new();
            while !told.load(Ordering::Relaxed) {
                visits.push(visit(router, "/"));
                std::thread::sleep(Duration::from_millis(2));
            }
            visits
        })
    };
    (0..4).map(|_| come(Arc::clone(told))).collect()
}

/// An upgrade: told to stop, or killed, and started again. Nobody who comes is refused, whenever
/// he comes; what was asked before is answered; and the dynos never stop.
#[test]
fn an_upgrade_never_blinks() {
    // Where nobody else listens: what is shut is seen to be.
    let mut platform = Platform::start_with(&["listen.router=127.0.78.1:0"]);
    deploy(&platform, "upgrade", "web: python3 web.py\n", &[]);
    let before = platform.dynos();
    let router = platform.address("router");
    assert_eq!(visit(router, "/").end, End::Answered(200));
    for killed in [false, true] {
        let slow = std::thread::spawn(move || visit(router, "/slow/2"));
        let stop = Arc::default();
        let visitors = visitors(router, &stop);
        std::thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        if killed {
            platform.kill();
        } else {
            platform.stop();
        }
        let gone = Instant::now();
        platform.up();
        let up = Instant::now();
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        let visits: Vec<Visit> = visitors.into_iter().flat_map(|one| one.join().unwrap()).collect();
        let mut gap: Vec<Duration> = visits
            .iter()
            .filter(|v| v.began + v.took > began && v.began < up)
            .map(|v| v.took)
            .collect();
        gap.sort_unstable();
        eprintln!(
            "killed: {killed}; down after {:?}, up after {:?}; {} visits, {} of them meanwhile: \
             median {:?}, p99 {:?}, longest {:?}",
            gone - began,
            up - began,
            visits.len(),
            gap.len(),
            gap[gap.len() / 2],
            gap[gap.len() * 99 / 100],
            gap[gap.len() - 1]
        );
        let failed: Vec<_> = visits.iter().filter(|v| v.end != End::Answered(200)).collect();
        assert!(failed.is_empty(), "killed: {killed}; {failed:?}");
        assert_eq!(slow.join().unwrap().end, End::Answered(200));
    }
    assert_eq!(platform.dynos(), before);

    // Nobody waits for a platform that was stopped for good.
    platform.stop_for_good();
    until("new ones are refused", BOUND, || (visit(router, "/").end == End::Refused).then_some(()));
    platform.up();
    assert_eq!(platform.app("upgrade", "/").status, 200);

    // A door that is configured elsewhere is shut where it was.
    let was = platform.address("router");
    platform.set("listen.router=127.0.78.2:0");
    platform.stop();
    platform.up();
    assert_eq!(visit(platform.address("router"), "/").end, End::Answered(200));
    until("it is shut", BOUND, || (visit(was, "/").end == End::Refused).then_some(()));
}
