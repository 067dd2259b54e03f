//! Lines are numbered where they are written, and every number arrives or is told as lost, but for those
//! that a kill takes out of the platform's hands uncounted.

use super::{BOUND, counts, drain};
use lathe_tests::{Platform, Receiver, until};
use serde_json::json;
use std::collections::HashSet;

/// Numbers from 1 to 10000, in bursts, then "done". All of them are less than what a dyno may say before
/// somebody listens, however long a killed platform takes to be back.
const COUNT: &str = "\
import sys, time
for n in range(1, 10001):
    sys.stdout.write(f'line {n}\\n')
    if n % 100 == 0:
        sys.stdout.flush()
        time.sleep(0.04)
print('done', flush=True)
time.sleep(1e6)
";

const LINES: u64 = 10_000;

/// A kill that comes between a read of the dyno's pipe and the count of what was read takes lines of
/// which nobody knows; one that comes between sending lines and writing down that they were there has
/// them told as lost although they came. Each of the three kills can hit two bursts so.
const UNSURE: u64 = 3 * 200;

/// The numbers that arrived, each once, and how many lines were told as lost.
fn account(texts: &[String]) -> (HashSet<u64>, u64) {
    let (mut numbers, mut lost) = (HashSet::new(), 0);
    for text in texts {
        if let Some(n) = text.strip_prefix("line ") {
            assert!(numbers.insert(n.parse().unwrap()), "{text} came twice");
        } else if let Some(told) = text.strip_prefix("Error L") {
            let words = told.split([' ', ':']);
            lost += words.skip(1).find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    (numbers, lost)
}

#[test]
fn every_line_arrives_or_is_told_as_lost_though_the_platform_is_killed() {
    let mut platform = Platform::start_with(&["drains.allow=127.0.0.1"]);
    let receiver = Receiver::start("127.0.0.1");
    let silent = Receiver::start("127.0.0.1");
    silent.fall_silent(true);
    platform.post("/apps", &json!({"name": "counted"}));
    let token = drain(&platform, "counted", &receiver.url());
    assert!(token.starts_with("d."));
    drain(&platform, "counted", &silent.url());
    let types = json!({"worker": "python3 count.py"});
    platform.release("counted", &types, &[("count.py", COUNT)]);
    let scale = json!({"updates": [{"type": "worker", "quantity": 1}]});
    assert_eq!(platform.api("PATCH", "/apps/counted/formation", &scale).0, 200);
    for enough in [500, 3000, 6000] {
        until("lines arrive", BOUND, || {
            (account(&receiver.texts()).0.len() >= enough).then_some(())
        });
        platform.kill();
        platform.up();
    }
    until("the last line arrives", BOUND, || {
        receiver.texts().contains(&"done".into()).then_some(())
    });
    let (numbers, lost) = account(&receiver.texts());
    let sum = numbers.len() as u64 + lost;
    assert!(sum.abs_diff(LINES) <= UNSURE, "{sum} of {LINES}, {lost} of them told as lost");
    assert!(lost < LINES / 2, "{lost} of {LINES} lines were lost in three kills");
    assert!(platform.logs("counted").contains("app[worker.1]: done"), "the log outlives it all");

    // The other has taken all that, keeps the newest 1024 beside the frame that is not answered, and
    // tells of the rest once it can.
    until("the silent drain is known to be one", BOUND, || {
        let owed = counts(&platform, "counted");
        let stuck = owed["drains"].as_array().unwrap().iter().find(|drain| drain["delivered"] == 0);
        (stuck.unwrap()["pending"].as_u64().unwrap() <= 1024 + 1500).then_some(())
    });
    silent.fall_silent(false);
    until("the silent drain's newest arrive", BOUND, || {
        silent.texts().contains(&"done".into()).then_some(())
    });
    let (numbers, lost) = account(&silent.texts());
    assert!(numbers.contains(&LINES), "the newest are kept");
    // What the platform itself said is among what was lost; and so may be the lines by which it told
    // that some had never come to any drain.
    let all = counts(&platform, "counted");
    let of = |name: &str| all[name].as_u64().unwrap();
    let said = (of("emitted") + UNSURE).checked_sub(LINES).expect("every line is counted");
    let never_came = of("dropped");
    let told = numbers.len() as u64 + lost;
    assert!(
        (LINES - never_came - UNSURE..=LINES + said + UNSURE).contains(&told),
        "{told} of {LINES}, {said} said, {never_came} never came"
    );

    let output = platform.command().args(["logs:counts", "-a", "counted"]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("emitted") && shown.contains("pending"), "{shown}");
}
