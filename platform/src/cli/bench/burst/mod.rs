//! `lathe bench burst`: thousands of tasks and dynos at once, through the real API of a platform of
//! its own: kept, placed, started, run and finished, and then torn down.
//!
//! The experiment is Cloud Foundry's, which took a hundred machines for it (Onsi Fakhouri, "Diego
//! performance", 2016).

mod bill;
mod caller;
mod clients;
mod lives;
mod watcher;

use super::chart::{Axis, Plot, Series};
use super::figures::{Latency, load, milliseconds};
use super::ground::{self, Owner};
use super::machine::Machine;
use super::paper::{Json, Svg};
use super::{BenchError, within};
use crate::cli::say::say;
use crate::cli::up;
use crate::config::Config;
use crate::roles::Running;
use bill::{Bill, Meter};
pub(super) use caller::Caller;
use clap::Args;
use clients::Clients;
use http::Method;
use lives::{Lives, Passing, Stage};
use serde::Serialize;
use serde_json::json;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use watcher::Watcher;

/// No app may have more (Heroku Dev Center, "Limits"): there are as many apps as it takes.
pub(super) const DYNOS_OF_APP: u32 = 100;
pub(super) const SIZE: &str = "Basic";
/// What a task is: it says something, and its status is a result that can be wrong.
const TASK: &str = "echo done; exit 7";
const RESULT: u8 = 7;
const PROCFILE: &str = "worker: exec sleep 1000000\n";
/// Callers of the API at once, each on a connection of its own.
const CALLERS: usize = 8;
/// Everything together may take this long.
const PATIENCE: Duration = Duration::from_mins(15);
/// Between two looks at how an uninvolved client fares.
const VISIT_EVERY: Duration = Duration::from_millis(250);

/// How many.
#[derive(Debug, Args)]
pub(in crate::cli) struct Burst {
    /// One-off dynos that run to their end
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=4400))]
    tasks: u32,
    /// Dynos of a formation that stay
    #[arg(long, default_value_t = 4000)]
    dynos: u32,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    svg: Svg,
}

#[derive(Debug, Serialize)]
struct Report {
    tasks: u32,
    dynos: u32,
    class: &'static str,
    load_before: String,
    /// Until every task had ended with its result on disk and every dyno was up.
    total_s: f64,
    /// Tasks whose result is not on record as the one they ended with.
    wrong_results: usize,
    lives_of_tasks: Vec<Passing>,
    lives_of_dynos: Vec<Passing>,
    api: Latency,
    /// An uninvolved client that looks at the app meanwhile.
    visitor: Latency,
    /// Of the whole machine, for each of the tasks and dynos.
    cpu_ms_each: f64,
    /// CPUs that the machine's own host kept to itself, on average.
    stolen_cpus: f64,
    cpu: Bill,
    /// Of the whole machine, all dynos up; and for each of them.
    memory_mib: f64,
    memory_kib_each: f64,
    /// From scaling to none until the last dyno is gone.
    tear_down_s: f64,
}

pub(super) async fn burst(mut config: Config, how: &Burst) -> Result<(), BenchError> {
    let room = ground::lay_out(&mut config)?;
    // What is promised is not what is used: these dynos sleep.
    config.room.memory_percent = u32::MAX;
    config.room.cpu_percent = u32::MAX;
    // Thousands of dynos would outlive a measurement that is only interrupted.
    let running = up::start(config).await?;
    let measured = within(measure(&running, room.path(), how)).await;
    say!("       Tearing down");
    running.stop(true).await;
    let (report, series) = measured?;
    show(&report);
    let title = format!("{} tasks and {} dynos", how.tasks, how.dynos);
    let plot = Plot { title, x: Axis::Linear("s"), y: Axis::Linear(""), series };
    how.svg.draw(&[plot])?;
    how.json.write(&report)
}

async fn measure(
    running: &Running,
    room: &Path,
    how: &Burst,
) -> Result<(Report, Vec<Series>), BenchError> {
    let owner = Owner::of(running)?;
    let (apps, token) = (deploy(&owner, room, how.dynos).await?, owner.token);
    let load_before = load();
    let (clients, meter) = (Clients::start()?, Meter::new()?);
    let before = Machine::now()?;
    let spent_before = meter.read(&before, &clients)?;
    say!("-----> {} tasks and {} dynos of class {SIZE}", how.tasks, how.dynos);
    let no_state = |why: &String| BenchError::at("watch")(io::Error::other(why.clone()));
    let store = running.state.as_ref().map_err(no_state)?;
    let watcher = Watcher::start(&clients.handle, store.clone(), running.observed.clone());
    let visitor = Visitor::start(&clients.handle, running.endpoints.api_plain, &token, &apps[0]);
    let begin = Instant::now();
    let answers = ask(&clients.handle, running, &token, &apps, how).await?;
    watcher.until_all(how.tasks as usize, how.dynos as usize, begin + PATIENCE).await?;
    let total = begin.elapsed();
    let after = Machine::now()?;
    let spent = meter.read(&after, &clients)?;
    let visits = visitor.end().await?;
    let seen = watcher.end().await?;
    let tear_down = tear_down(running, &token, &apps).await?;
    let all = f64::from(how.tasks + how.dynos);
    let is_right = |status: &&u8| **status == RESULT;
    let used_bytes = before.available_bytes.saturating_sub(after.available_bytes);
    let report = Report {
        tasks: how.tasks,
        dynos: how.dynos,
        class: SIZE,
        load_before,
        total_s: total.as_secs_f64(),
        wrong_results: how.tasks as usize - seen.results.values().filter(is_right).count(),
        lives_of_tasks: seen.tasks.passings(),
        lives_of_dynos: seen.dynos.passings(),
        api: Latency::of(answers.into_iter()),
        visitor: Latency::of(visits.into_iter()),
        cpu_ms_each: milliseconds(after.busy.saturating_sub(before.busy)) / all,
        stolen_cpus: after.stolen.saturating_sub(before.stolen).div_duration_f64(total),
        cpu: spent.bill(&spent_before, all),
        memory_mib: kib(used_bytes) / 1024.0,
        memory_kib_each: kib(used_bytes) / f64::from(how.dynos.max(1)),
        tear_down_s: tear_down.as_secs_f64(),
    };
    Ok((report, curves(&seen.tasks, &seen.dynos)))
}

/// Apps that have room for so many dynos, which do nothing; none runs yet. Gives their names.
pub(super) async fn deploy(
    owner: &Owner<'_>,
    room: &Path,
    dynos: u32,
) -> Result<Vec<String>, BenchError> {
    let count = dynos.div_ceil(DYNOS_OF_APP).max(1);
    let apps: Vec<String> = (0..count).map(|number| format!("burst-{number}")).collect();
    for app in &apps {
        let sample = owner.create(app, &room.join(app)).await?;
        sample.change("Procfile", PROCFILE).await?;
        sample.push(Stdio::null()).await?;
    }
    Ok(apps)
}

/// Asks for the dynos app by app and for the tasks one by one; gives how long each answer took.
async fn ask(
    on: &Handle,
    running: &Running,
    token: &str,
    apps: &[String],
    how: &Burst,
) -> Result<Vec<Duration>, BenchError> {
    let address = running.endpoints.api_plain;
    let mut answers = scale(address, token, apps, how.dynos).await?;
    let left = Arc::new(AtomicU32::new(how.tasks));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (left, apps, token) = (left.clone(), apps.to_vec(), token.to_owned());
        let call = async move {
            let mut caller = Caller::connect(address, &token).await?;
            let mut answers = Vec::new();
            let body = json!({"command": TASK, "attach": false, "size": SIZE});
            let take = |left: u32| left.checked_sub(1);
            while let Ok(task) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                let path = format!("/apps/{}/dynos", apps[task as usize % apps.len()]);
                answers.push(caller.call(Method::POST, &path, &body).await?.1);
            }
            Ok::<_, BenchError>(answers)
        };
        callers.spawn_on(call, on);
    }
    while let Some(ended) = callers.join_next().await {
        answers.extend(ended.map_err(BenchError::at("call the API"))??);
    }
    Ok(answers)
}

/// Scales so that all apps together have that many dynos.
async fn scale(
    address: SocketAddr,
    token: &str,
    apps: &[String],
    dynos: u32,
) -> Result<Vec<Duration>, BenchError> {
    let mut caller = Caller::connect(address, token).await?;
    let (mut left, mut answers) = (dynos, Vec::new());
    for app in apps {
        let quantity = left.min(DYNOS_OF_APP);
        left -= quantity;
        let body = json!({"quantity": quantity, "size": SIZE});
        let path = format!("/apps/{app}/formation/worker");
        answers.push(caller.call(Method::PATCH, &path, &body).await?.1);
    }
    Ok(answers)
}

/// Scales to none; gives how long it takes until the last dyno is gone.
pub(super) async fn tear_down(
    running: &Running,
    token: &str,
    apps: &[String],
) -> Result<Duration, BenchError> {
    let begin = Instant::now();
    scale(running.endpoints.api_plain, token, apps, 0).await?;
    let mut observed = running.observed.clone();
    let gone = tokio::time::timeout(PATIENCE, observed.wait_for(|seen| seen.dynos.is_empty()));
    let slow = |_| BenchError::at("tear down in time")(io::ErrorKind::TimedOut);
    gone.await.map_err(slow)?.map_err(|error| BenchError::at("watch")(io::Error::other(error)))?;
    Ok(begin.elapsed())
}

/// A client who has nothing to do with the burst, and looks at the app now and then.
struct Visitor {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Vec<Duration>, BenchError>>,
}

impl Visitor {
    fn start(on: &Handle, address: SocketAddr, token: &str, app: &str) -> Self {
        let (token, path) = (token.to_owned(), format!("/apps/{app}"));
        let (stop, mut stopped) = watch::channel(false);
        let task = on.spawn(async move {
            let mut caller = Caller::connect(address, &token).await?;
            let mut visits = Vec::new();
            loop {
                visits.push(caller.call(Method::GET, &path, &json!({})).await?.1);
                let rest = tokio::time::timeout(VISIT_EVERY, stopped.wait_for(|stop| *stop));
                if rest.await.is_ok() {
                    return Ok(visits);
                }
            }
        });
        Self { stop, task }
    }

    /// How long each visit took; the first that failed fails the measurement.
    async fn end(self) -> Result<Vec<Duration>, BenchError> {
        self.stop.send_replace(true);
        self.task.await.map_err(BenchError::at("visit the API"))?
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory of a machine")]
fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

fn curves(tasks: &Lives, dynos: &Lives) -> Vec<Series> {
    let of = |whose: &str, lives: &Lives, stages: &[Stage]| -> Vec<Series> {
        let curve = |stage: &Stage| {
            Series::counted(format!("{whose} {}", stage.name()), &lives.curve(*stage))
        };
        stages.iter().map(curve).collect()
    };
    let mut curves = of("tasks", tasks, &[Stage::Accepted, Stage::Running, Stage::Done]);
    curves.extend(of("dynos", dynos, &[Stage::Started, Stage::Running]));
    curves
}

fn show(report: &Report) {
    say!("       load {} before", report.load_before);
    say!("{:<18} {:>7} {:>8} {:>8} {:>8}", "seconds until", "dynos", "p50", "p99", "max");
    for (whose, passings) in [("tasks", &report.lives_of_tasks), ("dynos", &report.lives_of_dynos)]
    {
        for passing in passings {
            let what = format!("{whose} {}", passing.stage.name());
            let Passing { dynos, p50_s, p99_s, max_s, .. } = passing;
            say!("{what:<18} {dynos:>7} {p50_s:>8.2} {p99_s:>8.2} {max_s:>8.2}");
        }
    }
    for (who, latency) in [("API, each call", &report.api), ("a visitor", &report.visitor)] {
        let Latency { requests, p50_ms, p99_ms, max_ms } = latency;
        say!("{who:<18} {requests:>7} {p50_ms:>5.0} ms {p99_ms:>5.0} ms {max_ms:>5.0} ms");
    }
    say!("all of it          {:>7.1} s, {} wrong results", report.total_s, report.wrong_results);
    say!("CPU                {:>7.1} ms for each task and dyno", report.cpu_ms_each);
    say!("kept by the host   {:>7.2} CPUs", report.stolen_cpus);
    let Bill { platform_ms, platform_kernel_ms, spawner_ms, dynos_ms, clients_ms, others_ms } =
        &report.cpu;
    say!(
        "  of that          {platform_ms:>7.1} ms platform, {platform_kernel_ms:.1} in the kernel"
    );
    say!("                   {spawner_ms:>7.1} ms spawner, {dynos_ms:.1} dynos");
    say!("                   {clients_ms:>7.1} ms measuring clients, {others_ms:.1} others");
    let Report { memory_mib, memory_kib_each, .. } = report;
    say!("memory             {memory_mib:>7.0} MiB, {memory_kib_each:.0} KiB for each dyno");
    say!("tear-down          {:>7.1} s", report.tear_down_s);
}
