//! The Docker engine on the bench, at a daemon of the tests' own.

use crate::bench::{Bench, IMAGE, instance};
use crate::script::Script;
use crate::subject::{PATIENCE, Subject, clear, wait_for};
use lathe_dynos::class::Capacity;
use lathe_dynos::containers::{Containers, Known, Start, Stdio};
use lathe_dynos::docker::{DockerConfig, DockerEngine, Image, Images};
use lathe_dynos::spec::{DynoId, DynoSpec};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::broadcast;

static ENGINES: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Dockered {
    bench: Arc<Bench>,
    config: DockerConfig,
    engine: DockerEngine,
}

/// Everything runs on the tests' stack.
#[derive(Debug)]
struct OneImage;

impl Images for OneImage {
    fn image(&self, _spec: &DynoSpec) -> Option<Image> {
        Some(Image { reference: IMAGE.to_owned(), credentials: None })
    }

    fn is_ours(&self, reference: &str) -> bool {
        reference == IMAGE
    }
}

impl Dockered {
    fn container(&self, id: DynoId) -> String {
        format!("lathe-{}-{id}", self.config.instance)
    }
}

/// A container that the daemon begins anew is as one whose engine was killed as soon as it ran: nothing
/// of ours is mounted, and its shell waits. The next engine finishes that start.
pub(crate) async fn a_start_that_was_cut_off_is_finished() {
    let subject = Dockered::new().await;
    let mut start = subject.start_of(&Script::default());
    "echo begun > /tmp/word; exec sleep 1000".clone_into(&mut start.spec.command);
    let id = start.id;
    subject.engine.start(start).await.unwrap();
    let (bench, container) = (Arc::clone(&subject.bench), subject.container(id));
    let subject = subject
        .reopen(async {
            bench.daemon.says(&["restart", "-t", "0", &container]);
            let left = bench.daemon.docker(&["exec", &container, "touch", "/app/file"]).output();
            let said = String::from_utf8(left.unwrap().stderr).unwrap();
            assert!(said.contains("Read-only file system"), "{said}");
        })
        .await;
    let engine = &subject.engine;
    wait_for("the command to begin", async || {
        let ran = engine.run(id, "cat /tmp/word; touch /app/file", PATIENCE).await.unwrap();
        ran.status == Some(0) && ran.last_line == "begun"
    })
    .await;
    clear(engine).await;
    subject.close().await;
}

impl Subject for Dockered {
    type Engine = DockerEngine;

    /// Nobody but the daemon reads its pipes, and it takes up those of containers that run.
    const LAST_WORDS: bool = false;

    async fn new() -> Self {
        let bench = Bench::get();
        let daemon = &bench.daemon;
        let number = ENGINES.fetch_add(1, Ordering::Relaxed);
        let config = DockerConfig {
            dir: daemon.dir().join(format!("engine-{number}")),
            instance: instance(number),
            socket: daemon.socket(),
            network: daemon.subnet(number).parse().unwrap(),
            resolvers: Vec::new(),
            images: Arc::new(OneImage),
            capacity: Capacity::UNLIMITED,
            exits: broadcast::Sender::new(64),
        };
        let engine = DockerEngine::open(config.clone()).await.unwrap();
        Self { bench, config, engine }
    }

    fn engine(&self) -> &DockerEngine {
        &self.engine
    }

    fn start_of(&self, script: &Script) -> Start {
        let mut spec = lathe_dynos::fake::spec("web.1");
        spec.command = script.command();
        spec.class = crate::world::class();
        Start {
            id: DynoId::random(),
            spec,
            labels: BTreeMap::from([("slot".to_owned(), "web.1".to_owned())]),
            stdio: Stdio::Logged,
            mounts: Vec::new(),
            extra_fds: Vec::new(),
            argv: None,
        }
    }

    async fn reopen(self, meanwhile: impl Future<Output = ()>) -> Self {
        let Self { bench, config, engine } = self;
        drop(engine);
        meanwhile.await;
        let engine = DockerEngine::open(config.clone()).await.unwrap();
        Self { bench, config, engine }
    }

    async fn remove(&self, known: &Known) {
        self.bench.daemon.says(&["rm", "--force", &self.container(known.id)]);
    }

    fn kill_daemon(&self) {
        self.bench.daemon.kill();
    }

    async fn revive_daemon(&self) {
        self.bench.daemon.revive();
    }

    fn stop_daemon(&self, stopped: bool) {
        self.bench.daemon.signal(if stopped { "STOP" } else { "CONT" });
    }

    async fn close(self) {
        self.engine.close(true).await.unwrap();
        let group = format!("lathe-{}-docker", self.config.instance);
        let left = std::fs::read_dir("/sys/fs/cgroup").unwrap().find_map(|hierarchy| {
            let path = hierarchy.unwrap().path().join(&group);
            path.exists().then_some(path)
        });
        assert_eq!(left.as_deref(), None::<&Path>, "a control group is left");
    }
}
