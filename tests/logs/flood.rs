//! A dyno that says more than anybody can take: it does not wait, the disk does not fill, and what is
//! dropped is counted and told.

use super::{BOUND, counts, drain};
use lathe_tests::{Platform, Receiver, until};
use serde_json::json;
use std::fs;

/// Lines of a hundred bytes as fast as they go, and how long the longest write took.
const FLOOD: &str = "\
import os, time
longest, line = 0, 1
while line <= 300000:
    piece = b''.join(b'line %d %s\\n' % (n, b'x' * (94 - len(str(n)))) for n in range(line, line + 1000))
    line += 1000
    while piece:
        begin = time.monotonic()
        piece = piece[os.write(1, piece):]
        longest = max(longest, time.monotonic() - begin)
time.sleep(2)
print('longest', round(longest * 1000), 'ms', flush=True)
time.sleep(1e6)
";

const LINES: u64 = 300_000;
const FLOOD_BYTES: u64 = LINES * 100;

/// Lines of the platform's own beside them: what it says of the dyno, and of what it dropped, which is
/// one line at most for each batch of 512 that it takes in.
const OWN_LINES_MAX: u64 = 100 + LINES / 512;

/// What an app's log may take on the disk, while it is written anew too: the journal before it is due
/// (8 MiB), what comes meanwhile, and the new one beside it.
const DISK_BYTES: u64 = 20 << 20;

/// fault R10
#[test]
fn a_flood_holds_up_no_dyno_fills_no_disk_and_is_counted() {
    let platform = Platform::start_with(&["drains.allow=127.0.0.1"]);
    let receiver = Receiver::start("127.0.0.1");
    platform.post("/apps", &json!({"name": "flood"}));
    drain(&platform, "flood", &receiver.url());
    platform.release("flood", &json!({"worker": "python3 flood.py"}), &[("flood.py", FLOOD)]);
    let scale = json!({"updates": [{"type": "worker", "quantity": 1}]});
    assert_eq!(platform.api("PATCH", "/apps/flood/formation", &scale).0, 200);
    let mut most = 0;
    let said = until("the flood is over", BOUND * 2, || {
        let on_disk = ["logs.journal", "logs.journal.new"].map(|name| platform.data().join(name));
        let bytes = on_disk.iter().filter_map(|path| Some(fs::metadata(path).ok()?.len()));
        most = most.max(bytes.sum());
        let logs = platform.logs("flood");
        let words =
            |line: &str| Some(line.split_once("longest ")?.1.split_once(" ms")?.0.to_owned());
        logs.lines().find_map(words)
    });
    println!("the longest write took {said} ms; {most} bytes on the disk at most");
    assert!(said.parse::<u64>().unwrap() < 20_000, "it had to wait for somebody");
    assert!(most <= DISK_BYTES && DISK_BYTES < FLOOD_BYTES, "{most} bytes on the disk");

    // Each line is kept, let go for newer ones, or dropped before; the counts hold to the last one.
    let all = counts(&platform, "flood");
    let of = |name: &str| all[name].as_u64().unwrap();
    let own = of("emitted").checked_sub(LINES).expect("every line is counted");
    assert!(own < OWN_LINES_MAX, "{own} lines beside the flood");
    assert!(of("stored") <= 1500, "{all}");

    // And the drain's receiver can add up what it has and what it was told of.
    until("the drain has caught up", BOUND, || {
        receiver.texts().iter().any(|text| text.starts_with("longest ")).then_some(())
    });
    let texts = receiver.texts();
    let came = texts.iter().filter(|text| text.starts_with("line ")).count() as u64;
    let told: u64 = texts
        .iter()
        .filter_map(|text| text.strip_prefix("Error L"))
        .filter_map(|told| told.split([' ', ':']).skip(1).find_map(|word| word.parse::<u64>().ok()))
        .sum();
    // The platform's own lines may be among what was dropped, and so may be those by which it told.
    let never_came = of("dropped");
    let sum = came + told;
    assert!(
        (LINES - never_came..=LINES + own).contains(&sum),
        "{came} came and {told} were told of {LINES}; {never_came} never came: {all}"
    );
}
