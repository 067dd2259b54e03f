//! What a dyno may not exceed.

use super::world::World;
use lathe_dynos::containers::Containers;
use nix::sys::resource::{Resource, getrlimit};

#[tokio::test]
async fn a_fork_bomb_stays_small() {
    let world = World::new().await;
    let command =
        "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done 2>/dev/null; echo on";
    let (id, started) = world.start(command).await;
    let begin = std::time::Instant::now();
    let usage = loop {
        // The kernel counts one that it is about to deny, too, for a moment.
        let usage = world.engine.usage(id).await.unwrap();
        if usage.pids == 64 || begin.elapsed() > super::world::PATIENCE {
            break usage;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(usage.pids, 64, "pid {}", started.pid);
    world.close().await;
}

#[tokio::test]
async fn too_much_memory_is_told_as_such() {
    let world = World::new().await;
    let (_, ended) = world.run("exec python3 -c 'x = bytearray(300 << 20)'").await;
    assert!(ended.oom_killed);
    assert_eq!(ended.status, 137);
    assert!(ended.memory_peak_bytes > 100 << 20, "{}", ended.memory_peak_bytes);
    world.close().await;
}

#[tokio::test]
async fn a_child_that_is_killed_for_memory_is_told_although_the_dyno_ends_well() {
    let world = World::new().await;
    let (_, ended) = world.run("python3 -c 'x = bytearray(300 << 20)'; exit 0").await;
    assert!(ended.oom_killed);
    assert_eq!(ended.status, 0);
    world.close().await;
}

/// Opens files until there are no more to be had, then makes threads likewise.
const GREEDY: &str = "exec python3 -c '
import os, threading, time
files = []
try:
    while True: files.append(os.open(\"/dev/null\", os.O_RDONLY))
except OSError as error: print(len(files) + 3, error.strerror)
for file in files: os.close(file)
threads = 1
try:
    while True:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        threads += 1
except RuntimeError: print(threads)
'";

#[tokio::test]
async fn files_and_threads_are_bounded_and_threads_count_as_processes() {
    let world = World::new().await;
    let (text, ended) = world.run(GREEDY).await;
    let (_, ours) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let (files, threads) = text.split_once('\n').unwrap();
    assert_eq!(files, format!("{} Too many open files", ours.min(65_536)));
    // The dyno's first process is one of them, too.
    assert_eq!(threads.trim(), "63", "of 64");
    assert!(ended.pids_denied, "and the refusal is known");
    world.close().await;
}

#[tokio::test]
async fn the_dyno_sees_its_own_limits() {
    let world = World::new().await;
    let command = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes; ulimit -c; cat /proc/1/comm >/dev/null; ls /sys";
    let (text, _) = world.run(command).await;
    assert_eq!(text, format!("{}\n0\nfs\n", 128 << 20));
    world.close().await;
}
