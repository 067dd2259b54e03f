//! One-off dynos and their clients: terminals, pipes, exit statuses, and clients that go away.

use lathe_tests::{Checkout, OneOff, Platform, Session, until};
use serde_json::{Value, json};
use std::time::Duration;

const BOUND: Duration = Duration::from_mins(2);
const CLOSED: &str = "Client connection closed. Sending SIGHUP to all processes";

/// A platform with an app that has no web process: nothing runs but what is asked for.
fn platform() -> Platform {
    let platform = Platform::start();
    let (status, app) = platform.api("POST", "/apps", &json!({"name": "once"}));
    assert_eq!(status, 201, "{app}");
    let files = [("Procfile", "say: echo hello\n"), ("lines.txt", "one\ntwo\n")];
    Checkout::new(&platform, "once", &files).push().accepted();
    platform
}

/// What the app's log holds about one dyno.
fn log(platform: &Platform, dyno: &str) -> String {
    let body = json!({"lines": 1500, "dyno": dyno});
    let (status, session) = platform.api("POST", "/apps/once/log-sessions", &body);
    assert_eq!(status, 201, "{session}");
    let url = session["logplex_url"].as_str().unwrap();
    let path = url.splitn(4, '/').nth(3).unwrap();
    let plain = platform.address("api_plain");
    let answer = lathe_tests::request(plain, "GET", "localhost", &format!("/{path}"), &[], b"");
    answer.expect("an answer").body
}

fn log_has(platform: &Platform, dyno: &str, line: &str) -> String {
    until(&format!("{dyno} logs {line:?}"), BOUND, || {
        Some(log(platform, dyno)).filter(|log| log.contains(line))
    })
}

fn names(platform: &Platform) -> Vec<String> {
    let (_, dynos) = platform.api("GET", "/apps/once/dynos", &Value::Null);
    dynos.as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect()
}

/// Command, stdin, what comes back, exit status in the log.
type Case = (&'static str, &'static str, &'static str, u8);

const WITH_A_TERMINAL: &[Case] = &[
    ("say there", "", "hello there\r\n", 0),
    ("tty; stty size; echo $TERM $GREETING", "", "/dev/pts/0\r\n50 132\r\ndumb hi\r\n", 0),
    ("cat lines.txt >&2; exit 3", "", "one\r\ntwo\r\n", 3),
    ("read line; echo \"<$line>\"", "word\r", "word\r\n<word>\r\n", 0),
    ("wc -l", "a\nb\n\x04", "a\r\nb\r\n2\r\n", 0),
    ("echo on; sleep 100", "\x03", "on\r\n^C", 130),
    ("kill -9 $$", "", "", 137),
    ("kill -TERM $$", "", "", 143),
    ("no-such-program", "", "bash: line 1: no-such-program: command not found\r\n", 127),
    ("exit 255", "", "", 255),
    // As `heroku run -x` asks; the status is told also when the shell cannot tell it any more.
    (
        "kill -9 $$ ; echo \"\u{FFFF} heroku-command-exit-status: $?\"",
        "",
        "\u{FFFF} heroku-command-exit-status: 137\r\n",
        137,
    ),
    (
        "(exit 7) ; echo \"\u{FFFF} heroku-command-exit-status: $?\"",
        "",
        "\u{FFFF} heroku-command-exit-status: 7\r\n",
        0,
    ),
];

const WITH_PIPES: &[Case] = &[
    ("test -t 0 || echo no terminal", "\x04", "no terminal\n", 0),
    ("wc -l", "a\nb\nc\n\x04", "3\n", 0),
    ("cat", "no newline\x04", "no newline", 0),
    ("echo out; echo err >&2", "\x04", "out\nerr\n", 0),
    ("head -c 1", "12345\x04", "1", 0),
    ("exec >&- 2>&-; sleep 1; exit 5", "\x04", "", 5),
];

#[test]
fn bytes_go_both_ways_and_the_exit_status_is_exact() {
    let platform = platform();
    for (cases, pipes) in [(WITH_A_TERMINAL, false), (WITH_PIPES, true)] {
        for (command, stdin, output, status) in cases {
            let env = json!({"TERM": "dumb", "LINES": 50, "COLUMNS": 132, "GREETING": "hi"});
            let body = json!({"env": env, "force_no_tty": pipes});
            let one_off = OneOff::ask(&platform, "once", command, &body);
            let mut session = one_off.attach(&platform);
            if *stdin == "\x03" {
                // An interrupt is for what runs, not for what is about to.
                session.until("on\r\n");
            }
            session.send(stdin.as_bytes());
            assert_eq!(session.end(), *output, "{command}");
            let ended = format!("Process exited with status {status}\n");
            log_has(&platform, &one_off.name, &ended);
            until(&format!("{command} is not listed any more"), BOUND, || {
                (!names(&platform).contains(&one_off.name)).then_some(())
            });
        }
    }
    let much = OneOff::ask(&platform, "once", "seq 200000", &json!({"force_no_tty": true}));
    let mut expected: Vec<String> = (1..=200_000).map(|n: u32| n.to_string()).collect();
    expected.push(String::new());
    let expected = expected.join("\n");
    assert!(much.attach(&platform).end() == expected, "much output arrives whole");

    let much = OneOff::ask(&platform, "once", "sha256sum", &json!({"force_no_tty": true}));
    let mut session = much.attach(&platform);
    // Every byte value, the one that ends the input among them.
    session.send(&(0..=255).cycle().take(3 << 20).collect::<Vec<u8>>());
    session.send(b"\x04");
    let sum = "f6dd7fec8584ad00219a447071c1fa368a1caee4d9c146083d233713ddccd2c0";
    assert_eq!(session.end(), format!("{sum}  -\n"));
}

#[test]
fn a_token_opens_one_session_and_strangers_get_nothing() {
    let platform = platform();
    for end in ["\r\n", "\n", ""] {
        let one_off = OneOff::ask(&platform, "once", "cat", &json!({"force_no_tty": true}));
        let mut session = Session::open(&platform);
        session.send(format!("{}{end}", one_off.token()).as_bytes());
        session.until("rendezvous\r\n");
        session.send(b"x\x04");
        assert_eq!(session.end(), "rendezvous\r\nx", "{end:?}");
        let mut again = Session::open(&platform);
        again.send(format!("{}\r\n", one_off.token()).as_bytes());
        assert_eq!(again.end(), "");
    }
    for line in ["GET / HTTP/1.1\r\n\r\n", "\r\n", &"0".repeat(64), &"0".repeat(100_000)] {
        let mut stranger = Session::open(&platform);
        // It may be shown out before it has said all.
        drop(stranger.try_send(line.as_bytes()));
        assert_eq!(stranger.end(), "", "{} bytes", line.len());
    }
    let silent = Session::open(&platform);
    assert_eq!(silent.end(), "", "who says nothing is not waited for");
}

#[test]
fn a_client_that_leaves_or_never_comes_is_told_in_the_log() {
    let platform = platform();
    let missed = OneOff::ask(&platform, "once", "echo never", &Value::Null);
    let stubborn = "trap '' HUP; echo ready; while true; do sleep 1; done";
    let stubborn = OneOff::ask(&platform, "once", stubborn, &Value::Null);
    let obedient = OneOff::ask(&platform, "once", "echo ready; sleep 1000", &Value::Null);
    for one_off in [&stubborn, &obedient] {
        let mut session = one_off.attach(&platform);
        session.until("ready");
        assert!(names(&platform).contains(&one_off.name));
    }
    let deaf = OneOff::ask(&platform, "once", "sleep 1000", &json!({"force_no_tty": true}));
    // Far more than its pipe holds: the platform sees the client leave although it reads no more.
    deaf.attach(&platform).send(&vec![b'x'; 2 << 20]);
    let log = log_has(&platform, &deaf.name, "Process exited with status 129");
    assert_eq!(log.matches(CLOSED).count(), 1, "{log}");
    let log = log_has(&platform, &obedient.name, "Process exited with status 129");
    assert_eq!(log.matches(CLOSED).count(), 1, "{log}");
    let log = log_has(&platform, &stubborn.name, "Process exited with status 137");
    assert_eq!(log.matches(CLOSED).count(), 3, "{log}");
    let r16 = "Error R16 (Detached) -> An attached process is not responding to SIGHUP";
    assert!(log.contains(r16), "{log}");
    let log = log_has(&platform, &missed.name, "Error R13 (Attach error)");
    assert!(log.contains("Awaiting client") && !log.contains("Starting process"), "{log}");
    until("no one-off is left", BOUND, || names(&platform).is_empty().then_some(()));
}

#[test]
fn one_offs_end_when_they_are_stopped_or_their_app_is_destroyed() {
    let platform = platform();
    let stop = |name: &str| {
        let path = format!("/apps/once/dynos/{name}/actions/stop");
        assert_eq!(platform.api("POST", &path, &json!({})).0, 202);
    };
    let waits = OneOff::ask(&platform, "once", "echo never", &Value::Null);
    stop(&waits.name);
    let mut late = Session::open(&platform);
    late.send(format!("{}\r\n", waits.token()).as_bytes());
    assert_eq!(late.end(), "", "it is not there any more");

    let runs = OneOff::ask(&platform, "once", "echo ready; sleep 1000", &Value::Null);
    let mut session = runs.attach(&platform);
    session.until("ready");
    stop(&runs.name);
    assert_eq!(session.end(), "ready\r\n");
    log_has(&platform, &runs.name, "Process exited with status 143");

    let waits = OneOff::ask(&platform, "once", "echo never", &Value::Null);
    let runs = OneOff::ask(&platform, "once", "echo ready; sleep 1000", &Value::Null);
    let mut session = runs.attach(&platform);
    session.until("ready");
    assert_eq!(platform.api("DELETE", "/apps/once", &Value::Null).0, 200);
    assert_eq!(session.end(), "ready\r\n");
    let told = waits.attach(&platform).end();
    assert!(told.contains("could not be started: it was stopped"), "{told}");
}

#[test]
fn detached_one_offs_log_and_live_over_a_restart_of_the_platform() {
    let mut platform = platform();
    let short = OneOff::ask(&platform, "once", "say there; exit 4", &json!({"attach": false}));
    assert_eq!(short.attach_url, None);
    let log = log_has(&platform, &short.name, "Process exited with status 4");
    assert!(log.contains(&format!("app[{}]: hello there", short.name)), "{log}");
    assert!(log.contains("State changed from starting to up"), "{log}");

    let wait = "until test -e /tmp/go; do sleep 0.1; ((n++ > 60)) && exit 9; done";
    let lasting = OneOff::ask(&platform, "once", wait, &json!({"attach": false}));
    let attached = OneOff::ask(&platform, "once", "echo ready; sleep 1000", &Value::Null);
    let pending = OneOff::ask(&platform, "once", "echo never", &Value::Null);
    let mut session = attached.attach(&platform);
    session.until("ready");
    platform.stop();
    let said = session.end();
    assert!(said.starts_with("ready\r\n"), "clients see the end: {said:?}");
    assert!(said.contains("The platform is restarted"), "and why: {said:?}");
    platform.up();
    until("one-offs without a client are gone", BOUND, || {
        let left = names(&platform);
        (!left.contains(&attached.name) && !left.contains(&pending.name)).then_some(())
    });
    log_has(&platform, &lasting.name, "Process exited with status 9");
    until("no one-off is left", BOUND, || names(&platform).is_empty().then_some(()));
}
