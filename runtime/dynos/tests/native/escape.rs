//! What a dyno must not be able to do, tried by a program that reports each result.

use super::world::World;
use lathe_dynos::containers::{Containers, Mount, MountSource, Start, Stdio};
use lathe_tests::golden;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::{fmt::Write, io};

const PROBE: &str = include_str!("escape.py");
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/native/escape.tsv");

fn probing(world: &World) -> Start {
    let mut start = world.start_of("");
    start.argv = Some(["python3", "-c", PROBE].map(str::to_owned).to_vec());
    start
}

/// A dyno as the platform makes one for a build: a disk, a folder of the host, pipes of its own.
async fn of_a_build(world: &World) -> String {
    let tools = world.dir.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    let (mut said, stdout) = io::pipe().unwrap();
    let null = || OwnedFd::from(File::options().read(true).write(true).open("/dev/null").unwrap());
    let mut start = probing(world);
    start.spec.port = None;
    start.stdio = Stdio::Given {
        stdin: null(),
        stdout: stdout.try_clone().unwrap().into(),
        stderr: stdout.into(),
    };
    start.extra_fds = vec![null(), null()];
    let image = MountSource::Image { path: world.dir.path().join("disk.img"), bytes: 16 << 20 };
    start.mounts = vec![
        Mount { source: MountSource::Path(tools), target: "/opt/tools".into(), writable: false },
        Mount { source: image, target: "/tmp".into(), writable: true },
    ];
    let id = start.id;
    world.engine.start(start).await.unwrap();
    let ended = world.end(id).await;
    let mut text = String::new();
    said.read_to_string(&mut text).unwrap();
    assert_eq!(ended.status, 0, "{text}");
    text
}

/// Two columns beside the names; both probes report in the same order.
fn beside(run: &str, build: &str) -> String {
    assert_eq!(run.lines().count(), build.lines().count(), "{run}\n{build}");
    let mut table = String::new();
    for (run, build) in run.lines().zip(build.lines()) {
        let (name, outcome) = build.split_once('\t').unwrap();
        assert!(run.starts_with(name), "{run} beside {build}");
        writeln!(table, "{run}\t{outcome}").unwrap();
    }
    table
}

/// fault R19.
#[tokio::test]
async fn every_way_out_is_closed() {
    let world = World::new().await;
    let (run, ended) = world.run_start(probing(&world)).await;
    assert_eq!(ended.status, 0, "{run}");
    let build = of_a_build(&world).await;
    let table = beside(&run, &build);
    assert!(!table.contains("ALLOWED") && !table.contains("FOREIGN"), "{table}");
    golden::check(Path::new(GOLDEN), &table);
    world.close().await;
}
