//! Dynos of the native engine, in a scratch directory of their own.

use super::figures::{Memory, Sample, milliseconds, quantile, sorted};
use super::ready::Ready;
use super::{BenchError, groups, probe};
use lathe_dynos::class::{Capacity, Class, Classes};
use lathe_dynos::containers::{Containers, Start, Stdio};
use lathe_dynos::native::{NativeConfig, NativeEngine, Network, OpenSlug};
use lathe_dynos::spec::{DynoId, DynoSpec};
use lathe_logs::AppId;
use lathe_slug::SlugId;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

/// Any user but root; the app's files become its own.
const UID: u32 = 19_999;

const SIZE: &str = "Standard-1X";

pub(super) struct Native {
    engine: NativeEngine,
    stack: PathBuf,
    slug: SlugId,
    class: Class,
    /// Known once a dyno has run.
    counted: Option<Counted>,
    spent: Vec<Cpu>,
}

/// Processor time by who used it; the dyno's own includes its first process and its end.
#[derive(Clone, Copy)]
struct Cpu {
    engine: Duration,
    spawner: Duration,
    dyno: Duration,
}

impl Cpu {
    fn since(&self, before: &Self) -> Self {
        Self {
            engine: self.engine.saturating_sub(before.engine),
            spawner: self.spawner.saturating_sub(before.spawner),
            dyno: self.dyno.saturating_sub(before.dyno),
        }
    }

    fn sum(&self) -> Duration {
        self.engine + self.spawner + self.dyno
    }
}

/// Milliseconds of one start, by who spent them.
#[derive(Debug, Serialize)]
pub(super) struct Shares {
    pub(super) engine: f64,
    pub(super) spawner: f64,
    pub(super) dyno: f64,
}

/// Whose processor time a start is.
struct Counted {
    spawner: u32,
    /// The group above all dynos.
    group: PathBuf,
}

impl Native {
    /// Opens an engine beside whatever runs on this machine, and warms it: the slug is unpacked
    /// by a first dyno, which also tells where to look.
    pub(super) async fn open(ready: &Ready) -> Result<Self, BenchError> {
        let archive = ready.slug.archive.clone();
        let open = move |_| -> std::io::Result<Box<dyn std::io::Read + Send>> {
            Ok(Box::new(Cursor::new(archive.clone())))
        };
        let engine = engine(ready.dir.join("cell"), Box::new(open)).await?;
        let class = Classes::standard().named(SIZE).ok_or_else(|| BenchError::Step {
            step: format!("find the size {SIZE}"),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        let (stack, slug) = (ready.stack.clone(), ready.slug.id);
        let mut native = Self { engine, stack, slug, class, counted: None, spent: Vec::new() };
        let staying = native.launch(true).await?;
        let group = groups::of(staying.pid, "cpuacct");
        native.counted = groups::parent(staying.pid)
            .zip(group.and_then(|group| Some(group.parent()?.to_owned())))
            .map(|(spawner, group)| Counted { spawner, group });
        native.end(staying.id).await?;
        Ok(native)
    }

    pub(super) async fn start(&mut self) -> Result<Sample, BenchError> {
        let before = self.cpu();
        let launched = self.launch(false).await?;
        self.end(launched.id).await?;
        let spent = self.cpu().zip(before).map(|(after, before)| after.since(&before));
        self.spent.extend(spent);
        Ok(Sample { exec: launched.exec, cpu: spent.map(|spent| spent.sum()) })
    }

    /// Whose the processor time was, in the median of all starts.
    pub(super) fn shares(&self) -> Shares {
        let median = |part: fn(&Cpu) -> Duration| {
            quantile(&sorted(self.spent.iter().map(part).map(milliseconds)), 0.5)
        };
        Shares {
            engine: median(|cpu| cpu.engine),
            spawner: median(|cpu| cpu.spawner),
            dyno: median(|cpu| cpu.dyno),
        }
    }

    /// What each of so many idle dynos takes: its first process and its program.
    pub(super) async fn idle(&self, count: u32) -> Result<Memory, BenchError> {
        let mut dynos = Vec::new();
        for _ in 0..count {
            dynos.push(self.launch(true).await?);
        }
        let own = |pid| groups::proportional_set(pid).unwrap_or_default();
        let processes: u64 = dynos
            .iter()
            .map(|dyno| {
                own(dyno.pid) + groups::children(dyno.pid).into_iter().map(own).sum::<u64>()
            })
            .sum();
        let charged: u64 = dynos.iter().filter_map(|dyno| groups::memory(dyno.pid)).sum();
        for dyno in dynos {
            self.end(dyno.id).await?;
        }
        let count = u64::from(count.max(1));
        Ok(Memory { processes_bytes: processes / count, group_bytes: charged / count })
    }

    pub(super) async fn close(self) -> Result<(), BenchError> {
        Ok(self.engine.close(true).await?)
    }

    async fn launch(&self, stay: bool) -> Result<Launched, BenchError> {
        let (told, stdout) = std::io::pipe().map_err(BenchError::at("make a pipe"))?;
        let null = || File::options().read(true).write(true).open("/dev/null");
        let stdin = null().map_err(BenchError::at("open /dev/null"))?.into();
        let stderr = null().map_err(BenchError::at("open /dev/null"))?.into();
        let mut argv = vec![format!("/app/{}", probe::NAME)];
        argv.extend(stay.then(|| probe::STAY.to_owned()));
        let id = DynoId::random();
        let start = Start {
            id,
            spec: self.spec(),
            labels: BTreeMap::new(),
            stdio: Stdio::Given { stdin, stdout: stdout.into(), stderr },
            mounts: Vec::new(),
            extra_fds: Vec::new(),
            argv: Some(argv),
        };
        let begin = probe::now();
        let started = self.engine.start(start).await?;
        let at = probe::told(told).map_err(BenchError::at("hear a dyno"))?;
        Ok(Launched { id, pid: started.pid, exec: at.saturating_sub(begin) })
    }

    fn spec(&self) -> DynoSpec {
        DynoSpec {
            app: AppId::new("bench"),
            name: "web.1".into(),
            uid: UID,
            stack: self.stack.clone(),
            slug: Some(self.slug),
            command: String::new(),
            env: BTreeMap::new(),
            class: self.class.clone(),
            port: Some(5000),
        }
    }

    /// Waits for the dyno's end, helping it along, and forgets it.
    async fn end(&self, id: DynoId) -> Result<(), BenchError> {
        let mut ends = self.engine.events();
        self.engine.kill(id).await?;
        loop {
            let known = self.engine.list().await?;
            if known.iter().all(|known| known.id != id || known.ended.is_some()) {
                break;
            }
            // Whichever end it is, and however many were missed: the list tells.
            let _ended = ends.recv().await;
        }
        Ok(self.engine.forget(id).await?)
    }

    /// Of this process, of the spawner, and of all dynos there ever were.
    fn cpu(&self) -> Option<Cpu> {
        let Counted { spawner, group } = self.counted.as_ref()?;
        let own = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let own = (own.user_time() + own.system_time()).num_microseconds();
        Some(Cpu {
            engine: Duration::from_micros(u64::try_from(own).ok()?),
            spawner: groups::cpu_of_thread(*spawner)?,
            dyno: groups::cpu(group)?,
        })
    }
}

/// An engine in a directory of its own, beside whatever runs on this machine.
pub(super) async fn engine(dir: PathBuf, slugs: OpenSlug) -> Result<NativeEngine, BenchError> {
    let process = std::process::id();
    // 4096 addresses, other ones than those of the next measurement.
    let network = format!("10.{}.{}.0/20", 214 + process / 16 % 8, process % 16 * 16);
    let config = NativeConfig {
        dir,
        instance: format!("b{:05}", process % 100_000),
        network: network.parse::<Network>().map_err(|error| BenchError::Step {
            step: format!("use the network {network}"),
            source: std::io::Error::other(error),
        })?,
        lathe: std::env::current_exe().map_err(BenchError::at("find this program"))?,
        resolv_conf: None,
        limits: lathe_slug::UnpackLimits::default(),
        capacity: Capacity::UNLIMITED,
        sockets_patience: Duration::ZERO,
    };
    Ok(NativeEngine::open(config, slugs).await?)
}

struct Launched {
    id: DynoId,
    pid: u32,
    exec: Duration,
}
