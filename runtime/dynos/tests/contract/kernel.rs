//! What takes real processes, terminals and control groups.

use crate::script::Script;
use crate::subject::{Subject, clear, end, output, wait_for};
use lathe_dynos::containers::{Containers, Start, Stdio};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

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
    let read = tokio::time::timeout(crate::subject::PATIENCE, read).await.unwrap().unwrap();
    assert_eq!(end(&subject, id).await.status, 6);
    assert!(read.0 == [&sent, &b"\n"[..]].concat(), "{} bytes of {}", read.0.len(), sent.len());
    assert_eq!(read.1, b"bad\n");
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn a_fork_bomb_stays_small<S: Subject>() {
    let subject = S::new().await;
    let command = "i=0; while [ $i -lt 200 ]; do sleep 30 & i=$((i+1)); done 2>/dev/null; wait";
    let start = start_of(&subject, command);
    let (id, most) = (start.id, start.spec.class.pids_max);
    subject.engine().start(start).await.unwrap();
    wait_for("as many processes as it may have, and one more", async || {
        let usage = subject.engine().usage(id).await.unwrap();
        assert!(usage.pids <= most, "{usage:?}");
        usage.pids == most && usage.pids_denied > 0
    })
    .await;
    subject.engine().kill(id).await.unwrap();
    assert!(end(&subject, id).await.pids_denied);
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
