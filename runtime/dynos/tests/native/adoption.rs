//! Dynos outlive the engine and the spawner.

use super::world::{World, no_slugs, wait_for};
use lathe_dynos::containers::{Containers, Signal, Started};
use lathe_dynos::native::{NativeConfig, NativeEngine};
use std::fs;
use std::io::Read;

/// The process of the spawner that serves the world's directory.
pub(crate) fn spawner(world: &World) -> Option<i32> {
    let dir = world.config.dir.to_str().unwrap().to_owned();
    fs::read_dir("/proc").unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let line = fs::read(path.join("cmdline")).ok()?;
        let status = fs::read_to_string(path.join("status")).ok()?;
        // First processes of dynos are copies of the spawner, but number 1 of a namespace.
        let own =
            status.lines().find(|line| line.starts_with("NSpid:"))?.split_whitespace().count() == 2;
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let serves =
            words.get(1) == Some(&b"spawner".as_slice()) && words.get(3) == Some(&dir.as_bytes());
        if own && serves { path.file_name()?.to_str()?.parse().ok() } else { None }
    })
}

pub(crate) fn kill_spawner(world: &World) {
    let pid = nix::unistd::Pid::from_raw(spawner(world).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
}

const WAITING: &str = "echo before; trap 'echo after; exit 42' TERM; echo ready; : > /tmp/ready; \
                       while :; do sleep 0.02; done";

/// Reading its output would take it away from the test.
async fn ready(started: &Started) {
    let path = format!("/proc/{}/root/tmp/ready", started.pid);
    wait_for("a trap that is set", || fs::exists(&path).unwrap()).await;
}

/// The next engine, after one that was dropped.
pub(crate) async fn open(config: &NativeConfig) -> NativeEngine {
    NativeEngine::open(config.clone(), no_slugs()).await.unwrap()
}

pub(crate) async fn reopen(world: World) -> World {
    let World { engine, config, stack, dir, .. } = world;
    drop(engine);
    let engine = open(&config).await;
    World::of(engine, config, stack, dir)
}

#[tokio::test]
async fn a_new_engine_finds_everything() {
    let world = World::new().await;
    let (running, started) = world.start(WAITING).await;
    ready(&started).await;
    let (ended, _) = world.run("exit 5").await;
    assert_eq!(ended, "");
    let world = reopen(world).await;
    let known = world.engine.list().await.unwrap();
    assert_eq!(known.len(), 2);
    let dyno = known.iter().find(|dyno| dyno.id == running).unwrap();
    assert_eq!((dyno.pid, dyno.address, dyno.ended), (started.pid, started.address, None));
    assert_eq!(dyno.labels["slot"], "web.1");
    assert!(known.iter().any(|dyno| dyno.ended.is_some_and(|ended| ended.status == 5)));
    world.engine.signal(running, Signal::SIGTERM).await.unwrap();
    assert_eq!(world.end(running).await.status, 42);
    assert!(world.output(running).await.starts_with("before\nready\nafter\n"));
    world.close().await;
}

#[tokio::test]
async fn an_end_while_no_engine_runs_is_known_afterwards() {
    let world = World::new().await;
    let (id, started) = world.start("sleep 0.3; echo said; exit 7").await;
    let World { engine, config, stack, dir, .. } = world;
    drop(engine);
    wait_for("the end", || !fs::exists(format!("/proc/{}", started.pid)).unwrap()).await;
    let engine = open(&config).await;
    let world = World::of(engine, config, stack, dir);
    assert_eq!(world.end(id).await.status, 7);
    assert_eq!(world.output(id).await, "said\n");
    world.close().await;
}

#[tokio::test]
async fn a_new_spawner_takes_over_processes_pipes_and_statuses() {
    let world = World::new().await;
    let (running, waiting) = world.start(WAITING).await;
    ready(&waiting).await;
    let (short, started) = world.start("sleep 0.2; exit 9").await;
    let old = spawner(&world);
    kill_spawner(&world);
    wait_for("another spawner", || spawner(&world).is_some_and(|new| Some(new) != old)).await;
    assert_eq!(world.end(short).await.status, 9, "{started:?}");
    world.engine.signal(running, Signal::SIGTERM).await.unwrap();
    assert_eq!(world.end(running).await.status, 42);
    assert!(world.output(running).await.starts_with("before\nready\nafter\n"));
    let (text, _) = world.run("echo new").await;
    assert_eq!(text, "new\n");
    world.close().await;
}

/// Whoever reads a dyno's output goes on reading it, however long that takes: a new spawner does not take
/// what waits for output that nobody reads.
#[tokio::test]
async fn a_new_spawner_takes_nothing_from_who_reads() {
    const BYTES: usize = 220_000;
    let world = World::new().await;
    let waits = "until [ -e /tmp/go ]; do sleep 0.02; done";
    let says = format!("{waits}; yes 0123456789 | head -c {BYTES}; sleep 3");
    let (id, started) = world.start(&says).await;
    let output = world.engine.output(id).await.unwrap();
    let old = spawner(&world);
    kill_spawner(&world);
    wait_for("another spawner", || spawner(&world).is_some_and(|new| Some(new) != old)).await;
    fs::write(format!("/proc/{}/root/tmp/go", started.pid), "").unwrap();
    assert_eq!(world.end(id).await.status, 0);
    let mut text = String::new();
    fs::File::from(output.stdout).read_to_string(&mut text).unwrap();
    assert_eq!(text.len(), BYTES);
    world.close().await;
}

#[tokio::test]
async fn output_that_nobody_reads_neither_blocks_nor_grows() {
    let world = World::new().await;
    let (id, _) = world.start("yes 0123456789 | head -c 4000000; echo; echo last; exit 3").await;
    assert_eq!(world.end(id).await.status, 3);
    let output = world.engine.output(id).await.unwrap();
    let mut kept = Vec::new();
    let mut chunk = vec![0; 65536];
    while let Ok(bytes @ 1..) = rustix::io::read(&output.stdout, &mut chunk) {
        kept.extend_from_slice(&chunk[..bytes]);
    }
    assert!(kept.ends_with(b"last\n"));
    assert_eq!(kept.len() as u64 + output.dropped_bytes, 4_000_006);
    assert!(output.dropped_bytes > 0);
    world.close().await;
}

#[tokio::test]
async fn what_belongs_to_no_dyno_is_removed() {
    let world = World::new().await;
    let stray = uuid::Uuid::new_v4().to_string();
    let group = format!("lathe-{}/{stray}", world.config.instance);
    let group = lathe_tests::cgroups_of_pids().join(group);
    fs::create_dir(&group).unwrap();
    fs::create_dir(world.config.dir.join("dynos").join(&stray)).unwrap();
    fs::create_dir(world.config.dir.join("slugs/unfinished")).unwrap();
    let world = reopen(world).await;
    assert!(!fs::exists(&group).unwrap());
    assert!(!world.config.dir.join("dynos").join(&stray).exists());
    assert!(!world.config.dir.join("slugs/unfinished").exists());
    world.close().await;
}
