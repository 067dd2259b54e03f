//! What is made ahead: first processes that wait for a dyno, and whom they serve.

use super::adoption::{open, spawner};
use super::world::{World, wait_for};
use lathe_dynos::containers::{Containers, Signal};
use std::fs;

fn title(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).trim_end_matches('\0').to_owned()
}

/// The first processes of this world that wait.
fn waiting(world: &World) -> Vec<i32> {
    let groups = lathe_tests::cgroups_of_pids().join(format!("lathe-{}", world.config.instance));
    let groups = fs::read_dir(groups).unwrap().flatten().map(|group| group.path());
    let members = groups.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    let pids: Vec<i32> = members.flat_map(|list| parse(&list)).collect();
    pids.into_iter().filter(|pid| title(*pid) == "lathe: ready for a dyno").collect()
}

fn parse(list: &str) -> Vec<i32> {
    list.lines().filter_map(|pid| pid.parse().ok()).collect()
}

async fn all_ready(world: &World) -> Vec<i32> {
    wait_for("four berths", || waiting(world).len() == 4).await;
    waiting(world)
}

#[tokio::test]
async fn a_dyno_takes_a_first_process_that_waits_and_another_one_comes() {
    let world = World::new().await;
    let ready = all_ready(&world).await;
    let (id, started) = world.start("sleep 100").await;
    let pid = i32::try_from(started.pid).unwrap();
    assert!(ready.contains(&pid), "{pid} is one of {ready:?}");
    assert_eq!(title(pid), "lathe: dyno web.1 of a1b2");
    all_ready(&world).await;
    world.engine.kill(id).await.unwrap();
    assert_eq!(world.end(id).await.status, 137);
    world.close().await;
}

#[tokio::test]
async fn killed_ones_cost_no_start() {
    let world = World::new().await;
    let ready = all_ready(&world).await;
    for pid in &ready {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL).unwrap();
    }
    let gone = |pid: &i32| !fs::exists(format!("/proc/{pid}")).unwrap();
    wait_for("the spawner to notice", || ready.iter().all(gone)).await;
    for _ in 0..5 {
        let (text, ended) = world.run("echo here; exit 3").await;
        assert_eq!((text.as_str(), ended.status), ("here\n", 3));
    }
    // Nor does a spawner that takes them along.
    let ready = all_ready(&world).await;
    let old = spawner(&world);
    super::adoption::kill_spawner(&world);
    wait_for("another spawner", || spawner(&world).is_some_and(|new| Some(new) != old)).await;
    assert_eq!(world.run("echo there").await.0, "there\n");
    wait_for("the old ones to end", || waiting(&world).iter().all(|pid| !ready.contains(pid)))
        .await;
    world.close().await;
}

#[tokio::test]
async fn they_end_with_their_engine_and_the_next_one_has_its_own() {
    let world = World::new().await;
    let ready = all_ready(&world).await;
    let World { engine, config, stack, dir, .. } = world;
    drop(engine);
    wait_for("all to end", || ready.iter().all(|pid| title(*pid).is_empty())).await;
    let engine = open(&config).await;
    let world = World::of(engine, config, stack, dir);
    let new = all_ready(&world).await;
    assert!(new.iter().all(|pid| !ready.contains(pid)));
    let groups = lathe_tests::cgroups_of_pids().join(format!("lathe-{}", world.config.instance));
    wait_for("the groups of the old ones to be gone", || {
        let kept = fs::read_dir(&groups).unwrap().flatten().filter(|entry| entry.path().is_dir());
        kept.count() == 4
    })
    .await;
    world.close().await;
}
