//! Dynos that take all they can of everything, and one beside them that does not notice.

use lathe_tests::{Load, Platform, request, until};
use serde_json::{Map, Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(5);
/// What has to be answered while all of them are at their worst.
const ANSWERS: usize = 50;

/// CPU, disk, memory and processes without end. The last one says so much that of the others nothing is
/// left in the log.
const GREEDY: [(&str, &str); 4] = [
    ("burn", "while :; do :; done & while :; do :; done"),
    (
        "fill",
        "for d in /tmp /app; do head -c 9G /dev/zero >$d/fill; echo full $?; done; sleep 1000",
    ),
    ("eat", "exec python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'"),
    ("fork", "b() { b | b & }; while :; do b; done"),
];

/// Eco: what it saves is spent soon.
fn scale(platform: &Platform, process_type: &str, quantity: u32) {
    let update = json!({"type": process_type, "quantity": quantity, "size": "eco"});
    let body = json!({"updates": [update]});
    let (status, answer) = platform.api("PATCH", "/apps/greedy/formation", &body);
    assert_eq!(status, 200, "{answer}");
}

/// What all dynos of this platform together weigh beside everything else on the machine, in thousandths
/// of what is usual.
fn weigh(platform: &Platform, thousandths: u32) {
    let group = format!("lathe-{}", platform.instance());
    let v1 = (format!("/sys/fs/cgroup/cpu/{group}/cpu.shares"), 1024 * thousandths / 1000);
    let v2 = (format!("/sys/fs/cgroup/{group}/cpu.weight"), 100 * thousandths / 1000);
    let write = |(path, weight): (String, u32)| fs::write(path, weight.to_string());
    write(v1).or_else(|_| write(v2)).unwrap();
}

/// Whether it meets its limit, by what it says or what is said of it.
fn is_at_its_worst(platform: &Platform, process_type: &str) -> bool {
    let said = |text: &str| platform.logs("greedy").matches(text).count();
    match process_type {
        "burn" => {
            let (_, credits) = platform.api("GET", "/apps/greedy/cpu", &Value::Null);
            // Whoever asks too often gets another answer.
            let held = |credit: &Value| credit["dyno"] == "burn.1" && credit["held"] == true;
            credits.as_array().is_some_and(|all| all.iter().any(held))
        }
        "fill" => said("fill.1]: full 1") == 2 && said("No space left on device") == 2,
        "eat" => said("heroku[eat.1]: Error R15 (Memory quota vastly exceeded)") > 0,
        _ => said("Resource temporarily unavailable") > 0,
    }
}

/// fault R7, R8, R9: each meets its own limit, and is told so; the quiet one answers every request,
/// through the router and past it, and is the same dyno all the time.
#[test]
fn who_takes_all_it_can_of_everything_takes_it_from_nobody() {
    let platform = Platform::start_with(&["governor.load_percent=1000000", "dynos.stop_grace=2"]);
    let web = json!({"web": "python3 -m http.server $PORT"});
    platform.release("quiet", &web, &[("index.html", "quiet\n")]);
    until("it serves", BOUND, || (platform.app("quiet", "/").status == 200).then_some(()));
    let (quiet, before) = (platform.dyno("web.1"), platform.ps("quiet"));
    let types: Map<_, _> = GREEDY
        .iter()
        .map(|(name, _)| ((*name).to_owned(), json!(format!("bash {name}"))))
        .collect();
    platform.release("greedy", &types.into(), &GREEDY);
    let enforce = json!({"mode": "enforce", "app": "greedy"});
    assert_eq!(platform.api("PATCH", "/governor", &enforce).0, 200);

    let answered = Arc::new(AtomicUsize::new(0));
    let (router, count) = (platform.address("router"), Arc::clone(&answered));
    let through = Load::start(move || {
        let answer = request(router, "GET", "quiet.localhost", "/", &[], b"");
        count.fetch_add(1, Ordering::Relaxed);
        answer
    });
    let past = Load::start({
        let quiet = quiet.clone();
        move || quiet.get("/")
    });
    // On a crowded machine nobody gets enough to spend what he has saved.
    weigh(&platform, 100_000);
    for (process_type, _) in GREEDY {
        scale(&platform, process_type, 1);
        until(&format!("{process_type} meets its limit"), BOUND, || {
            is_at_its_worst(&platform, process_type).then_some(())
        });
        weigh(&platform, 1000);
    }
    let enough = answered.load(Ordering::Relaxed) + ANSWERS;
    until("the quiet one goes on", BOUND, || {
        (answered.load(Ordering::Relaxed) >= enough).then_some(())
    });
    let (through, past) = (through.end(), past.end());
    eprintln!(
        "beside the greedy: {} answered through the router, longest gap {:?}; {} past it",
        through.answered, through.gap, past.answered
    );
    assert!(through.failed.is_empty() && past.failed.is_empty(), "{through:?} {past:?}");
    assert!(past.answered > 0);
    assert!(platform.dynos().contains(&quiet), "it was restarted");
    assert_eq!(platform.ps("quiet"), before);

    for (process_type, _) in GREEDY {
        scale(&platform, process_type, 0);
    }
    until("the greedy are gone", BOUND, || {
        platform.dynos().iter().all(|dyno| dyno.app == quiet.app).then_some(())
    });
}
