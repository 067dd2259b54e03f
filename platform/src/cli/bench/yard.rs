//! The yard of a measurement: an engine and a governor of its own, and dynos in it that work.

use super::{BenchError, groups, native};
use crate::config::Config;
use crate::stack;
use lathe_dynos::class::Class;
use lathe_dynos::clock::Clock;
use lathe_dynos::containers::{
    Containers, EngineError, Mount, MountSource, Start, StartError, Stdio,
};
use lathe_dynos::governor::rollout::{Change, Scope};
use lathe_dynos::governor::setting::Setting;
use lathe_dynos::governor::{self, Credit, Governor};
use lathe_dynos::native::NativeEngine;
use lathe_dynos::spec::{DynoId, DynoSpec};
use lathe_logs::AppId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Any user but root.
const UID: u32 = 19_998;

/// Where a dyno sees this program.
const LATHE: &str = "/opt/lathe";

/// Lines of the governor that nobody reads.
const LINES_MAX: usize = 16;

/// Every 0.1 s the yard looks whether what it waits for has come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_mins(2);

/// Everybody is held to its credits.
pub(super) const ENFORCE: Setting = Setting::Enforce { percent: 100, strength: 100 };

pub(super) struct Yard {
    engine: Arc<NativeEngine>,
    governor: Governor,
    governing: governor::Running,
    stack: PathBuf,
    /// Every dyno's standard input: it ends with us, however we end, and the dynos with it.
    leash: (PipeReader, PipeWriter),
    _lines: lathe_logs::Receiver,
    _room: TempDir,
}

/// A dyno that runs in the yard.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) id: DynoId,
    pub(super) address: Ipv4Addr,
    /// Where its processor time is counted.
    group: PathBuf,
}

/// A class whose dynos begin without balance: what lasts is measured, not the first seconds.
pub(super) fn spent(class: &Class) -> Class {
    let mut class = class.clone();
    if let Some(terms) = &mut class.credit {
        terms.initial = Duration::ZERO;
    }
    class
}

impl Worker {
    /// Processor time since its start.
    pub(super) fn used(&self) -> Duration {
        groups::cpu(&self.group).unwrap_or_default()
    }
}

impl Yard {
    /// Credits are off at first.
    pub(super) async fn open(config: &Config) -> Result<Self, BenchError> {
        let stack = stack::ensure(config, &mut |_| ())?.run.root;
        let room = tempfile::Builder::new().prefix("lathe-bench-").tempdir();
        let room = room.map_err(BenchError::at("make a directory"))?;
        let no_slugs = |_| Err(io::ErrorKind::NotFound.into());
        let engine = native::engine(room.path().join("cell"), Box::new(no_slugs)).await?;
        let engine = Arc::new(engine);
        let (logs, lines) = lathe_logs::channel(LINES_MAX);
        let settings = governor::Config {
            dir: room.path().to_owned(),
            // Load is what the yard is for.
            load_limit: u32::MAX,
            clock: Clock::system(),
        };
        let started = Governor::start(settings, Arc::clone(&engine), logs);
        let (governor, governing) = started.map_err(BenchError::at("start a governor"))?;
        let leash = io::pipe().map_err(BenchError::at("make a pipe"))?;
        let yard = Self { engine, governor, governing, stack, leash, _lines: lines, _room: room };
        yard.treat(Setting::Off)?;
        Ok(yard)
    }

    /// Mirror of `open`: ends every dyno.
    pub(super) async fn close(self) -> Result<(), BenchError> {
        tokio::task::block_in_place(|| self.governing.stop());
        Ok(self.engine.close(true).await?)
    }

    /// What is done about the credit of all dynos, those that run and those to come.
    pub(super) fn treat(&self, setting: Setting) -> Result<(), BenchError> {
        let change = Change { scope: Scope::Cell, setting: Some(setting), trial: None };
        let changed = self.governor.change(change).map_err(io::Error::other);
        changed.map(drop).map_err(BenchError::at("set the governor"))
    }

    /// Every account that is kept.
    pub(super) fn credits(&self) -> Vec<Credit> {
        self.governor.credits(None)
    }

    /// Starts a dyno of a class that runs `lathe bench work …`.
    pub(super) async fn start(&self, class: &Class, work: &[&str]) -> Result<Worker, BenchError> {
        let lathe = [LATHE, "bench", "work"];
        self.launch(class, lathe.iter().chain(work).map(|word| (*word).to_owned()).collect()).await
    }

    /// Starts a dyno of a class that does nothing and takes next to nothing for it.
    pub(super) async fn idle(&self, class: &Class) -> Result<Worker, BenchError> {
        self.launch(class, vec!["/usr/bin/cat".to_owned()]).await
    }

    async fn launch(&self, class: &Class, argv: Vec<String>) -> Result<Worker, BenchError> {
        let lathe = std::env::current_exe().map_err(BenchError::at("find this program"))?;
        let id = DynoId::random();
        let start = Start {
            id,
            spec: DynoSpec {
                app: AppId::new("bench"),
                name: "web.1".into(),
                uid: UID,
                stack: self.stack.clone(),
                slug: None,
                command: String::new(),
                env: BTreeMap::new(),
                class: class.clone(),
                port: None,
            },
            labels: BTreeMap::new(),
            stdio: self.stdio().map_err(BenchError::at("open a dyno's input and output"))?,
            mounts: vec![Mount {
                source: MountSource::Path(lathe),
                target: LATHE.into(),
                writable: false,
            }],
            extra_fds: Vec::new(),
            argv: Some(argv),
        };
        let started = self.engine.start(start).await?;
        let gone = || StartError::Engine(EngineError::Unknown(id));
        let group = groups::of(started.pid, "cpuacct").ok_or_else(gone)?;
        Ok(Worker { id, address: started.address, group })
    }

    fn stdio(&self) -> io::Result<Stdio> {
        let null = File::options().write(true).open("/dev/null")?;
        Ok(Stdio::Given {
            stdin: self.leash.0.try_clone()?.into(),
            stdout: null.try_clone()?.into(),
            stderr: null.into(),
        })
    }

    /// Returns when the governor keeps the accounts of all of them.
    pub(super) async fn governed(&self, workers: &[Worker]) -> Result<(), BenchError> {
        let known = |credits: &[Credit]| {
            workers.iter().all(|worker| credits.iter().any(|credit| credit.id == worker.id))
        };
        let wait = async {
            while !known(&self.credits()) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.map_err(|_| BenchError::at("see dynos governed")(io::ErrorKind::TimedOut))
    }

    /// Ends dynos and forgets them.
    pub(super) async fn end(&self, workers: Vec<Worker>) -> Result<(), BenchError> {
        let mut ends = self.engine.events();
        for worker in &workers {
            self.engine.kill(worker.id).await?;
        }
        loop {
            let known = self.engine.list().await?;
            let runs = |worker: &Worker| {
                known.iter().any(|known| known.id == worker.id && known.ended.is_none())
            };
            if !workers.iter().any(runs) {
                break;
            }
            // Whichever end it is, and however many were missed: the list tells.
            let _ended = tokio::time::timeout(LOOK_EVERY, ends.recv()).await;
        }
        for worker in workers {
            self.engine.forget(worker.id).await?;
        }
        Ok(())
    }
}
