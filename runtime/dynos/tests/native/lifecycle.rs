//! Start, output, status, signals.

use super::world::World;
use lathe_dynos::containers::{Containers, Signal, StartError};
use std::os::fd::OwnedFd;
use std::time::Instant;

#[tokio::test]
async fn a_dyno_starts_speaks_ends_and_is_forgotten() {
    let world = World::new().await;
    let (id, _) = world.start("echo $GREETING $DYNO $PORT; echo bad >&2; exit 7").await;
    assert_eq!(world.output(id).await, "hello world web.1 5000\nbad\n");
    let ended = world.end(id).await;
    assert_eq!((ended.status, ended.oom_killed), (7, false));
    assert!(ended.memory_peak_bytes > 0);
    world.engine.forget(id).await.unwrap();
    assert!(world.engine.list().await.unwrap().is_empty());
    world.close().await;
}

#[tokio::test]
async fn output_can_be_opened_by_name() {
    let world = World::new().await;
    let (text, ended) = world.run("echo out > /dev/stdout; echo err > /dev/stderr").await;
    assert_eq!((text.as_str(), ended.status), ("out\nerr\n", 0));
    world.close().await;
}

#[tokio::test]
async fn every_status_comes_back_as_it_was() {
    let world = World::new().await;
    for status in [0, 1, 2, 126, 127, 128, 143, 200, 255] {
        let (_, ended) = world.run(&format!("exit {status}")).await;
        assert_eq!(ended.status, status);
    }
    let signals = [("TERM", 143), ("KILL", 137), ("SEGV", 139), ("HUP", 129), ("34", 162)];
    for (signal, status) in signals {
        let (_, ended) = world.run(&format!("kill -{signal} $$")).await;
        assert_eq!(ended.status, status, "{signal}");
    }
    world.close().await;
}

#[tokio::test]
async fn a_signal_reaches_every_process() {
    let world = World::new().await;
    let command = "(trap 'echo inner; exit' TERM; echo ready; while :; do sleep 0.01; done) & \
                   trap 'wait; echo outer; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let (id, _) = world.start(command).await;
    world.hear(id, "ready", 2).await;
    world.engine.signal(id, Signal::SIGTERM).await.unwrap();
    assert_eq!(world.end(id).await.status, 3);
    let said = world.output(id).await;
    assert!(said.contains("inner") && said.contains("outer"), "{said}");
    world.close().await;
}

#[tokio::test]
async fn an_app_without_a_handler_ends_at_sigterm_and_a_stubborn_one_at_kill() {
    let world = World::new().await;
    let (id, _) = world.start("exec sleep 100").await;
    world.engine.signal(id, Signal::SIGTERM).await.unwrap();
    assert_eq!(world.end(id).await.status, 143);
    let (id, _) = world.start("trap '' TERM; echo ready; while :; do sleep 1; done").await;
    world.hear(id, "ready", 1).await;
    world.engine.signal(id, Signal::SIGTERM).await.unwrap();
    world.engine.kill(id).await.unwrap();
    assert_eq!(world.end(id).await.status, 137);
    world.close().await;
}

#[tokio::test]
async fn the_command_is_data_and_profile_scripts_come_first() {
    let world = World::new().await;
    let command = "mkdir -p /app/.profile.d; echo 'export WHO=profile; set -- spoilt' \
                   > /app/.profile.d/a.sh; exec bash -c \"$(cat /proc/1/cmdline >/dev/null; \
                   echo 'echo $0 \"quoted $HOME\"')\"";
    let (text, ended) = world.run(command).await;
    assert_eq!((text.as_str(), ended.status), ("bash quoted /app\n", 0));
    let (text, _) = world.run("echo '\"' $(id -u) $(id -un) ~ $PWD; hostname=x").await;
    assert_eq!(text, "\" 20001 u20001 /app /app\n");
    world.close().await;
}

#[tokio::test]
async fn a_failed_start_names_its_step_and_leaves_nothing() {
    let world = World::new().await;
    let mut start = world.start_of("");
    start.argv = Some(vec!["/no/such/program".to_owned()]);
    match world.engine.start(start).await {
        Err(StartError::Step { step, source }) => {
            assert_eq!(step, "execute /no/such/program");
            assert_eq!(source.raw_os_error(), Some(libc::ENOENT));
        }
        other => panic!("{other:?}"),
    }
    let mut start = world.start_of("");
    start.spec.stack = "/no/such/stack".into();
    assert!(world.engine.start(start).await.is_err());
    assert!(world.engine.list().await.unwrap().is_empty());
    world.close().await;
}

#[tokio::test]
async fn given_descriptors_and_arguments_are_used_as_they_are() {
    let world = World::new().await;
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let extra: OwnedFd = writer.try_clone().unwrap();
    let mut start = world.start_of("");
    start.argv = Some(["bash", "-c", "cat; echo more >&3", "x"].map(str::to_owned).to_vec());
    let null = std::fs::File::open("/dev/null").unwrap();
    start.stdio = lathe_dynos::containers::Stdio::Given {
        stdin: null.into(),
        stdout: writer.try_clone().unwrap(),
        stderr: writer,
    };
    start.extra_fds = vec![extra];
    let id = start.id;
    world.engine.start(start).await.unwrap();
    let mut text = [0; 64];
    let bytes = tokio::task::spawn_blocking(move || {
        rustix::io::read(&reader, &mut text).map(|bytes| text[..bytes].to_vec())
    });
    assert_eq!(bytes.await.unwrap().unwrap(), b"more\n");
    assert_eq!(world.end(id).await.status, 0);
    world.close().await;
}

#[tokio::test]
async fn orphans_are_reaped_and_end_with_the_dyno() {
    let world = World::new().await;
    let command = "for i in 1 2 3; do (sleep 0.01 & ) ; done; (sleep 100 &); sleep 0.3
        for ((i = 0; i < 300; i++)); do
            states=$(cat /proc/[0-9]*/stat | while read -r _ name state _; do echo $state; done)
            [[ $states == *Z* ]] || break
            sleep 0.2
        done
        echo $states";
    let (text, _) = world.run(command).await;
    assert!(text.contains('S') && !text.contains('Z'), "{text}");
    world.close().await;
}

/// Not a bound, but a figure to read: the machine decides.
#[tokio::test]
async fn start_is_measured() {
    let world = World::new().await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let mut start = world.start_of("");
        start.argv = Some(vec!["/usr/bin/true".to_owned()]);
        let id = start.id;
        let begin = Instant::now();
        world.engine.start(start).await.unwrap();
        times.push(begin.elapsed());
        world.end(id).await;
    }
    times.sort_unstable();
    println!("start to exec: min {:?}, median {:?}, max {:?}", times[0], times[10], times[19]);
    world.close().await;
}
