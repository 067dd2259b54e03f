//! A dyno on a terminal of its own.

use super::world::{World, wait_for};
use lathe_dynos::containers::{Containers, Stdio};
use std::os::fd::OwnedFd;

/// Reads what the terminal has said so far.
fn hear(master: &OwnedFd, heard: &mut String) {
    let mut chunk = [0; 1024];
    rustix::io::ioctl_fionbio(master, true).unwrap();
    while let Ok(bytes @ 1..) = rustix::io::read(master, &mut chunk) {
        heard.push_str(&String::from_utf8_lossy(&chunk[..bytes]));
    }
}

#[tokio::test]
async fn size_input_and_interrupt_arrive() {
    let world = World::new().await;
    let command = "tty; stty size; read line; echo got $line; stty size; \
                   trap 'echo interrupted; exit 9' INT; echo waiting; while :; do sleep 0.05; done";
    let mut start = world.start_of(command);
    start.stdio = Stdio::Terminal { rows: 33, columns: 99 };
    let id = start.id;
    let master = world.engine.start(start).await.unwrap().terminal.unwrap();
    let mut heard = String::new();
    wait_for("the first size", || {
        hear(&master, &mut heard);
        heard.contains("/dev/pts/0") && heard.contains("33 99")
    })
    .await;
    world.engine.resize(id, 20, 70).await.unwrap();
    rustix::io::write(&master, b"words\n").unwrap();
    wait_for("the echo and the new size", || {
        hear(&master, &mut heard);
        heard.contains("got words") && heard.contains("20 70") && heard.contains("waiting")
    })
    .await;
    rustix::io::write(&master, b"\x03").unwrap();
    assert_eq!(world.end(id).await.status, 9);
    wait_for("the last word", || {
        hear(&master, &mut heard);
        heard.contains("interrupted")
    })
    .await;
    world.close().await;
}
