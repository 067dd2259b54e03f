//! The native engine on the bench: its daemon is the spawner.

use crate::script::Script;
use crate::subject::Subject;
use crate::world::{World, no_slugs};
use lathe_dynos::containers::{Known, Signal, Start};
use lathe_dynos::native::{NativeConfig, NativeEngine};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::sync::Arc;

pub(crate) struct Native(World);

impl Native {
    /// The process that serves this world's directory and is not itself in a dyno.
    fn spawner(&self) -> Option<Pid> {
        let dir = self.0.config.dir.to_str().unwrap();
        std::fs::read_dir("/proc").unwrap().find_map(|entry| {
            let path = entry.unwrap().path();
            let line = std::fs::read(path.join("cmdline")).ok()?;
            let status = std::fs::read_to_string(path.join("status")).ok()?;
            let spaces = status.lines().find(|line| line.starts_with("NSpid:"))?;
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let serves = words.get(1) == Some(&b"spawner".as_slice())
                && words.get(3) == Some(&dir.as_bytes());
            let own = spaces.split_whitespace().count() == 2;
            let pid = path.file_name()?.to_str()?.parse().ok().map(Pid::from_raw);
            pid.filter(|_| serves && own)
        })
    }
}

/// The next engine, after one that was dropped.
async fn open(config: &NativeConfig) -> NativeEngine {
    NativeEngine::open(config.clone(), no_slugs()).await.unwrap()
}

impl Subject for Native {
    type Engine = NativeEngine;

    async fn new() -> Self {
        Self(World::new().await)
    }

    fn engine(&self) -> &NativeEngine {
        &self.0.engine
    }

    fn start_of(&self, script: &Script) -> Start {
        self.0.start_of(&script.command())
    }

    async fn reopen(self, meanwhile: impl Future<Output = ()>) -> Self {
        let World { engine, config, stack, dir, .. } = self.0;
        drop(Arc::into_inner(engine).unwrap());
        meanwhile.await;
        let engine = open(&config).await;
        Self(World::of(engine, config, stack, dir))
    }

    /// An operator has nothing but the process.
    async fn remove(&self, known: &Known) {
        kill(Pid::from_raw(known.pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    }

    fn kill_daemon(&self) {
        kill(self.spawner().unwrap(), Signal::SIGKILL).unwrap();
    }

    /// The engine itself brings it back.
    async fn revive_daemon(&self) {}

    fn stop_daemon(&self, stopped: bool) {
        let signal = if stopped { Signal::SIGSTOP } else { Signal::SIGCONT };
        kill(self.spawner().unwrap(), signal).unwrap();
    }

    async fn close(self) {
        self.0.close().await;
    }
}
