//! Sockets that the spawner keeps: for the next engine, over its own death and its replacement.

use super::adoption::{kill_spawner, open, reopen, spawner};
use super::world::{World, wait_for};
use lathe_dynos::native::{KeptSocket, NativeEngine, let_go};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use std::fs;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

/// At an address that nothing else here listens at: once shut, its port is not soon another's.
pub(crate) fn door() -> TcpListener {
    static DOORS: AtomicU8 = AtomicU8::new(1);
    let host = DOORS.fetch_add(1, Ordering::Relaxed);
    TcpListener::bind((Ipv4Addr::new(127, 0, 7, host), 0)).unwrap()
}

fn named_door() -> (SocketAddr, KeptSocket) {
    let listener = door();
    (listener.local_addr().unwrap(), KeptSocket { name: "door".into(), socket: listener.into() })
}

fn names(engine: &NativeEngine) -> Vec<String> {
    engine.kept().unwrap().into_iter().map(|kept| kept.name).collect()
}

/// The kept socket hears what was said while nobody accepted.
fn hears(engine: &NativeEngine, said: &str) {
    let door = engine.kept().unwrap().remove(0);
    let (mut stream, _) = TcpListener::from(door.socket).accept().unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, said);
}

/// Waits until nobody listens there any more: a program that another test is just starting has a copy
/// of what this process has open, until it is executed.
pub(crate) async fn shut(address: SocketAddr) {
    wait_for("the door to be shut", || TcpStream::connect(address).is_err()).await;
}

fn say(address: SocketAddr, text: &str) {
    TcpStream::connect(address).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn a_socket_outlives_the_engine_and_the_spawner() {
    let world = World::new().await;
    assert!(names(&world.engine).is_empty());
    let (address, socket) = named_door();
    world.engine.keep(vec![socket]).await.unwrap();

    let World { engine, config, stack, dir, .. } = world;
    drop(engine);
    say(address, "while there is no engine");
    let engine = open(&config).await;
    hears(&engine, "while there is no engine");

    let world = World::of(engine, config, stack, dir);
    let old = spawner(&world);
    kill_spawner(&world);
    wait_for("another spawner", || spawner(&world).is_some_and(|new| Some(new) != old)).await;
    // The engine asks the new one for nothing before it has given it the sockets.
    world.run("true").await;
    say(address, "to the new spawner");
    let world = reopen(world).await;
    hears(&world.engine, "to the new spawner");

    let (other, socket) = named_door();
    world.engine.keep(vec![socket]).await.unwrap();
    // A set replaces the one before.
    shut(address).await;
    let World { engine, config, stack, dir, .. } = world;
    drop(engine);
    say(other, "");
    let_go(&config.dir).await.unwrap();
    shut(other).await;
    let engine = open(&config).await;
    assert!(names(&engine).is_empty());
    let world = World::of(engine, config, stack, dir);
    let (last, socket) = named_door();
    world.engine.keep(vec![socket]).await.unwrap();
    let dir = world.config.dir.clone();
    world.close().await;
    // With the dynos the sockets go, too.
    shut(last).await;
    let_go(&dir).await.unwrap();
}

/// Bound and listening when this returns, so that the engine finds it.
fn old_spawner(dir: &Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let kind = SocketType::SEQPACKET;
    let listener = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
    let path = dir.join("spawner.sock");
    // The name of the one that has ended.
    fs::remove_file(&path).unwrap();
    let address = SocketAddrUnix::new(path).unwrap();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    listener
}

/// Serves as a spawner of protocol `version` that keeps `door`, until it is told to retire: what
/// it was asked.
fn serve_as(version: u32, listener: &OwnedFd, dir: &Path, door: &OwnedFd) -> Vec<String> {
    let engine = rustix::net::accept(listener).unwrap();
    let say = |text: String, fds: &[BorrowedFd<'_>]| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        let bytes = [IoSlice::new(text.as_bytes())];
        rustix::net::sendmsg(&engine, &bytes, &mut control, SendFlags::empty()).unwrap();
    };
    say(format!(r#"{{"Hello":{{"version":{version},"pid":1}}}}"#), &[]);
    say(r#""Ready""#.to_owned(), &[]);
    let mut asked = Vec::new();
    loop {
        let mut bytes = [0; 1024];
        let (length, _) = rustix::net::recv(&engine, &mut bytes, RecvFlags::empty()).unwrap();
        let request: serde_json::Value = serde_json::from_slice(&bytes[..length]).unwrap();
        let reply = |answer: &str| {
            format!(r#"{{"Reply":{{"number":{},"answer":{answer}}}}}"#, request["number"])
        };
        let order = request["order"].as_str().unwrap().to_owned();
        asked.push(order.clone());
        if order == "Retire" {
            fs::remove_file(dir.join("spawner.sock")).unwrap();
            say(reply(r#""Done""#), &[]);
            return asked;
        }
        assert_eq!(order, "Kept");
        say(reply(r#"{"Kept":["door"]}"#), &[door.as_fd()]);
    }
}

/// One that is too old to keep anything is not asked for it; of one that is newer than we are the
/// sockets are taken over, whatever else it may have learned.
#[tokio::test]
async fn a_spawner_of_another_version_hands_over() {
    for (version, expected) in [(1, &["Retire"][..]), (99, &["Kept", "Retire"])] {
        let world = World::new().await;
        world.engine.close(true).await.unwrap();
        let World { engine, config, stack, dir, .. } = world;
        drop(engine);
        let (address, KeptSocket { socket, .. }) = named_door();
        let listener = old_spawner(&config.dir);
        let serving = std::thread::spawn({
            let dir = config.dir.clone();
            move || serve_as(version, &listener, &dir, &socket)
        });
        let engine = open(&config).await;
        assert_eq!(serving.join().unwrap(), expected);
        // The new spawner has it, or nobody has.
        let world = reopen(World::of(engine, config, stack, dir)).await;
        if version == 1 {
            shut(address).await;
        } else {
            say(address, "across versions");
            hears(&world.engine, "across versions");
        }
        world.close().await;
    }
}
