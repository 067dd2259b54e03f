//! What takes real processes, terminals and control groups.

use crate::script::Script;
use crate::subject::{PATIENCE, Subject, clear, end, output, wait_for};
use lathe_dynos::containers::{Containers, EngineError, Ran, Start, Stdio};
use lathe_dynos::spec::DynoId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

fn start_of<S: Subject>(subject: &S, command: &str) -> Start {
    let mut start = subject.start_of(&Script::default());
    command.clone_into(&mut start.spec.command);
    start
}

/// Reads what the terminal has said so far.
fn hear(master: &OwnedFd, heard: &mut String) {
    let mut chunk = [0; 1024];
    rustix::io::ioctl_fionbio(master, true).unwrap();
    while let Ok(bytes @ 1..) = rustix::io::read(master, &mut chunk) {
        heard.push_str(&String::from_utf8_lossy(&chunk[..bytes]));
    }
}

pub(crate) async fn a_terminal_has_a_size_takes_input_and_interrupts<S: Subject>() {
    let subject = S::new().await;
    let command = "tty; stty size; read line; echo got $line; stty size; \
                   trap 'echo interrupted; exit 9' INT; echo waiting; while :; do sleep 0.05; done";
    let mut start = start_of(&subject, command);
    start.stdio = Stdio::Terminal { rows: 33, columns: 99 };
    let id = start.id;
    let master = subject.engine().start(start).await.unwrap().terminal.unwrap();
    let mut heard = String::new();
    wait_for("the first size", async || {
        hear(&master, &mut heard);
        heard.contains("/dev/pts/0") && heard.contains("33 99")
    })
    .await;
    subject.engine().resize(id, 20, 70).await.unwrap();
    rustix::io::write(&master, b"words\n").unwrap();
    wait_for("the echo and the new size", async || {
        hear(&master, &mut heard);
        heard.contains("got words") && heard.contains("20 70") && heard.contains("waiting")
    })
    .await;
    rustix::io::write(&master, b"\x03").unwrap();
    assert_eq!(end(&subject, id).await.status, 9);
    wait_for("the last word", async || {
        hear(&master, &mut heard);
        heard.contains("interrupted")
    })
    .await;
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn given_pipes_carry_input_output_and_the_end<S: Subject>() {
    let subject = S::new().await;
    let mut start = start_of(&subject, "cat; echo; echo bad >&2; exit 6");
    let [(stdin, mut input), (output, stdout), (errors, stderr)] =
        [(); 3].map(|()| std::io::pipe().unwrap());
    start.stdio =
        Stdio::Given { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into() };
    let id = start.id;
    subject.engine().start(start).await.unwrap();
    // More than any pipe holds.
    let sent: Vec<u8> = (0..300_000_u32).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
    let given = sent.clone();
    std::thread::spawn(move || input.write_all(&given).unwrap());
    let read = tokio::task::spawn_blocking(move || {
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        File::from(OwnedFd::from(output)).read_to_end(&mut said).unwrap();
        File::from(OwnedFd::from(errors)).read_to_end(&mut complained).unwrap();
        (said, complained)
    });
    let read = tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    assert_eq!(end(&subject, id).await.status, 6);
    assert!(read.0 == [&sent, &b"\n"[..]].concat(), "{} bytes of {}", read.0.len(), sent.len());
    assert_eq!(read.1, b"bad\n");
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn a_fork_bomb_stays_small<S: Subject>() {
    let subject = S::new().await;
    let command = "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done 2>/dev/null; wait";
    let start = start_of(&subject, command);
    let (id, most) = (start.id, start.spec.class.pids_max);
    subject.engine().start(start).await.unwrap();
    wait_for("as many processes as it may have, and one more", async || {
        // The kernel counts one that it is about to deny, too, for a moment.
        let usage = subject.engine().usage(id).await.unwrap();
        usage.pids == most && usage.pids_denied > 0
    })
    .await;
    subject.engine().kill(id).await.unwrap();
    assert!(end(&subject, id).await.pids_denied);
    clear(subject.engine()).await;
    subject.close().await;
}

/// Fills the places that are a dyno's, tries those that are not, and makes room again.
const SCRIBBLE: &str = r#"exec python3 -c '
import os
def fill(path):
    size = 0
    try:
        with open(path, "wb", 0) as file:
            while True: size += file.write(bytes(1 << 20))
    except OSError as error: print(error.strerror)
    return size
print(sum(fill(path) for path in ["/app/big", "/tmp/big"]) >> 20)
for path in ["/new", "/usr/new", "/etc/new", "/etc/passwd", "/etc/hosts", "/etc/resolv.conf"]:
    try:
        open(path, "a")
        print(path, "is open to all")
    except OSError: pass
os.remove("/app/big")
open("/tmp/small", "w").write("more")
print(open("/tmp/small").read())
'"#;

/// fault R8
pub(crate) async fn what_a_dyno_writes_is_bounded_and_gone_with_it<S: Subject>() {
    let subject = S::new().await;
    let start = start_of(&subject, SCRIBBLE);
    let (id, most_mib) = (start.id, start.spec.class.disk_bytes >> 20);
    subject.engine().start(start).await.unwrap();
    let said = output(&subject, id).await;
    let lines: Vec<&str> = said.lines().collect();
    let full = "No space left on device";
    let [first, second, written, "more"] = lines[..] else { panic!("{said}") };
    assert_eq!((first, second), (full, full));
    // Some of the room is for what the directories themselves take.
    let written: u64 = written.parse().unwrap();
    assert!((most_mib - 2..=most_mib).contains(&written), "{written} of {most_mib} MiB");
    assert_eq!(end(&subject, id).await.status, 0);
    let start = start_of(&subject, "ls -A /app /tmp");
    let next = start.id;
    subject.engine().start(start).await.unwrap();
    assert_eq!(output(&subject, next).await, "/app:\n\n/tmp:\n");
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn the_environment_is_the_configs_and_the_dynos<S: Subject>() {
    let subject = S::new().await;
    let mut start =
        start_of(&subject, "echo \"$GREETING\" $DYNO $PORT $HOME $PWD \"$ODD\"; exit 3");
    start.spec.env = BTreeMap::from([
        ("GREETING".to_owned(), "hello  world".to_owned()),
        ("DYNO".to_owned(), "never".to_owned()),
        ("ODD".to_owned(), "a=b\n'\"$HOME".to_owned()),
    ]);
    let (id, spec) = (start.id, start.spec.clone());
    subject.engine().start(start).await.unwrap();
    let expected = "hello  world web.1 5000 /app /app a=b\n'\"$HOME\n";
    assert_eq!(output(&subject, id).await, expected);
    assert_eq!(end(&subject, id).await.status, 3);
    let listed = subject.engine().list().await.unwrap();
    assert_eq!(listed[0].spec, spec, "and is listed as it was given");
    clear(subject.engine()).await;
    subject.close().await;
}

/// What a command tells of how it is confined: no capability, no way to get one, a filter.
const CONFINED: &str = "while read -r name value; do case $name in \
    CapEff:|NoNewPrivs:|Seccomp:) echo -n \"$value \";; esac; done < /proc/self/status";

pub(crate) async fn a_command_runs_inside_a_dyno_as_its_own_process_would<S: Subject>() {
    let subject = S::new().await;
    let mut start = start_of(&subject, "echo hello > /tmp/word; exec sleep 1000");
    start.spec.env = BTreeMap::from([("GREETING".to_owned(), "good day".to_owned())]);
    let id = start.id;
    let engine = subject.engine();
    engine.start(start).await.unwrap();
    let run = async |command: &str| engine.run(id, command, PATIENCE).await.unwrap();
    let ran = |status, line: &str| Ran { status: Some(status), last_line: line.to_owned() };
    wait_for("the dyno's word", async || run("cat /tmp/word").await == ran(0, "hello")).await;
    let seen = run("echo $GREETING $DYNO $PORT $PWD; [ -e /proc/$$ ] && exit 7").await;
    assert_eq!(seen, ran(7, "good day web.1 5000 /app"));
    assert_eq!(run(CONFINED).await, ran(0, "0000000000000000 1 2"));
    assert_eq!(run("kill -9 $$").await, ran(137, ""));
    assert_eq!(run("kill -34 $$").await, ran(162, ""), "a real-time signal");
    let flood = run("yes | head -c 3000000; echo; echo last").await;
    assert_eq!(flood, ran(0, "last"), "whatever it says, it does not wait for a reader");

    // It counts as one of the dyno's, and goes with what it has started when its time is over.
    let before = engine.usage(id).await.unwrap().pids;
    let more = wait_for("more processes", async || engine.usage(id).await.unwrap().pids > before);
    let command = "echo busy; sleep 1000 & sleep 1000";
    let (late, ()) = tokio::join!(engine.run(id, command, Duration::from_secs(6)), more);
    assert_eq!(late.unwrap(), Ran { status: None, last_line: "busy".to_owned() });
    wait_for("its processes to be gone", async || engine.usage(id).await.unwrap().pids <= before)
        .await;

    assert!(matches!(
        engine.run(DynoId::random(), "true", PATIENCE).await,
        Err(EngineError::Unknown(_))
    ));
    engine.kill(id).await.unwrap();
    end(&subject, id).await;
    assert!(engine.run(id, "true", PATIENCE).await.is_err(), "nobody is there any more");
    clear(engine).await;
    subject.close().await;
}

/// fault R6
pub(crate) async fn who_stops_accepting_is_found<S: Subject>() {
    let subject = S::new().await;
    let start = subject.start_of(&Script { listens: true, ..Script::default() });
    let id = start.id;
    let engine = subject.engine();
    let address = engine.start(start).await.unwrap().address;
    let accepts = async |at_most| engine.accepts(id, address, 5000, at_most).await.unwrap();
    wait_for("a port", async || accepts(PATIENCE).await).await;
    // The kernel goes on taking connections for it.
    engine.run(id, "kill -STOP -1", PATIENCE).await.unwrap();
    wait_for("a connection", async || engine.connects(id, address, 5000).await).await;
    assert!(!accepts(Duration::from_millis(300)).await);
    engine.run(id, "kill -CONT -1", PATIENCE).await.unwrap();
    assert!(accepts(PATIENCE).await);
    clear(engine).await;
    subject.close().await;
}
