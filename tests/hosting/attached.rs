//! An upgrade and somebody who is attached to a one-off: it waits for him, but not for ever.

use super::{BOUND, BRIEF, good, release, settled};
use lathe_tests::{OneOff, Platform, until};
use serde_json::{Value, json};

/// The line by which a release says that it waits.
fn waits(platform: &Platform, number: u64) {
    let line = format!("Release v{number} waits until builds, releases and attached one-offs");
    until("it says that it waits", BOUND, || platform.logs("lathe").contains(&line).then_some(()));
}

/// What it is told, and by whom: whoever is attached to a one-off goes on as if nothing was about to
/// happen, and the trial begins when he has left. When its patience is over he is told why he is cut off.
#[test]
fn a_trial_waits_for_whoever_is_attached_and_tells_who_is_cut_off() {
    let mut platform = Platform::start_self_hosted(&BRIEF);
    platform.release("once", &json!({"say": "cat"}), &[("file", "")]);
    let attach = |platform: &Platform| {
        let one_off = OneOff::ask(platform, "once", "cat", &json!({"force_no_tty": true}));
        one_off.attach(platform)
    };
    let before = platform.holder();
    let mut session = attach(&platform);
    let number = release(&platform, &good());
    waits(&platform, number);
    session.send(b"still here\n");
    session.until("still here\n");
    assert_eq!(platform.holder(), before, "nobody was put in its place");
    let path = format!("/apps/lathe/releases/{number}");
    let pending = platform.api("GET", &path, &Value::Null).1;
    assert_eq!(pending["status"], "pending", "{pending}");
    session.send(b"\x04");
    assert_eq!(session.end(), "still here\n");
    let kept = settled(&platform, number);
    assert_eq!(kept["status"], "succeeded", "{kept}\n{}", platform.log());

    platform.stop();
    platform.set("upgrade.patience=0");
    platform.up();
    let mut session = attach(&platform);
    session.send(b"here\n");
    session.until("here\n");
    let number = release(&platform, &good().replace("exec", "true; exec"));
    let said = session.end();
    assert!(said.starts_with("here\n"), "{said:?}");
    assert!(said.contains("The platform is restarted"), "{said:?}");
    let kept = settled(&platform, number);
    assert_eq!(kept["status"], "succeeded", "{kept}\n{}", platform.log());
}
