//! `lathe bench governor`: what the governor of many dynos costs, and whether the balance of one is
//! what its terms and its use say.

mod trace;

use super::figures::load;
use super::paper::{Json, Svg};
use super::yard::{ENFORCE, Yard};
use super::{BenchError, groups, within};
use crate::cli::say::say;
use crate::config::Config;
use clap::Args;
use lathe_dynos::class::Class;
use lathe_dynos::governor::credit::Terms;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;
use std::fs;
use std::io;
use std::time::{Duration, Instant};
use trace::Trace;

/// The dynos' own first moments are no part of what they cost later; seconds, less where less is
/// counted.
const SETTLE_S: u64 = 2;

/// Of a core, of what it is with 1000 dynos.
const AIM_PERCENT: f64 = 3.0;

/// How much to measure.
#[derive(Debug, Args)]
pub(in crate::cli) struct Governor {
    /// Numbers of dynos, ascending
    #[arg(long, value_delimiter = ',', default_value = "100,500,1000")]
    dynos: Vec<usize>,
    /// Seconds that are counted of each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Milliseconds of balance that the traced dyno begins with
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(100..))]
    balance_ms: u64,
    /// Seconds of its baseline that the traced dyno uses after the burst, and then of rest
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    trace: u64,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    svg: Svg,
}

#[derive(Debug, Serialize)]
struct Report {
    load: [String; 2],
    costs: Vec<Cost>,
    trace: Trace,
}

/// What governing so many dynos costs, percent of one core.
#[derive(Debug, Serialize)]
struct Cost {
    dynos: usize,
    /// How often each is looked at.
    looks: Looks,
    /// The governor's own thread.
    thread_percent: f64,
    /// With what the engine does for it.
    process_percent: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Looks {
    /// Nobody can run out of balance soon.
    Seldom,
    /// Everybody may run out at any tick: the worst there is.
    EveryTick,
}

impl Looks {
    fn name(self) -> &'static str {
        match self {
            Self::Seldom => "every second",
            Self::EveryTick => "every 80 ms",
        }
    }

    /// Eco, with a balance that makes it so.
    fn class(self, config: &Config) -> Result<Class, BenchError> {
        let (initial, max) = match self {
            Self::Seldom => (Duration::from_secs(500), Duration::from_secs(500)),
            Self::EveryTick => (Duration::ZERO, Duration::from_millis(20)),
        };
        eco(config, |terms| (terms.initial, terms.max) = (initial, max))
    }
}

fn eco(config: &Config, terms: impl FnOnce(&mut Terms)) -> Result<Class, BenchError> {
    let mut class = config
        .classes
        .named("Eco")
        .ok_or_else(|| BenchError::at("find the class Eco")(io::ErrorKind::NotFound))?;
    class.credit.as_mut().map(terms);
    Ok(class)
}

pub(super) async fn governor(config: &Config, how: &Governor) -> Result<(), BenchError> {
    let before = load();
    let yard = Yard::open(config).await?;
    let measured = within(async {
        yard.treat(ENFORCE)?;
        let trace = trace::trace(&yard, config, how).await?;
        let mut costs = costs(&yard, config, how, Looks::Seldom).await?;
        costs.extend(self::costs(&yard, config, how, Looks::EveryTick).await?);
        Ok((costs, trace))
    })
    .await;
    yard.close().await?;
    let (costs, trace) = measured?;
    let report = Report { load: [before, load()], costs, trace };
    show(&report, how);
    how.svg.draw(&[report.trace.plot()])?;
    how.json.write(&report)
}

/// The dynos do nothing; more and more of them.
async fn costs(
    yard: &Yard,
    config: &Config,
    how: &Governor,
    looks: Looks,
) -> Result<Vec<Cost>, BenchError> {
    let class = looks.class(config)?;
    let (mut dynos, mut costs) = (Vec::new(), Vec::new());
    for count in &how.dynos {
        while dynos.len() < *count {
            dynos.push(yard.idle(&class).await?);
        }
        yard.governed(&dynos).await?;
        tokio::time::sleep(Duration::from_secs(how.seconds.min(SETTLE_S))).await;
        let (begin, before) = (Instant::now(), spent()?);
        tokio::time::sleep(Duration::from_secs(how.seconds)).await;
        let (after, elapsed) = (spent()?, begin.elapsed().as_secs_f64());
        let percent = |after: Duration, before: Duration| {
            after.saturating_sub(before).as_secs_f64() / elapsed * 100.0
        };
        costs.push(Cost {
            dynos: *count,
            looks,
            thread_percent: percent(after.0, before.0),
            process_percent: percent(after.1, before.1),
        });
    }
    yard.end(dynos).await?;
    Ok(costs)
}

/// Processor time of the governor's thread and of this process so far.
fn spent() -> Result<(Duration, Duration), BenchError> {
    let thread = thread_named("governor").and_then(groups::cpu_of_thread);
    let gone = || BenchError::at("find the governor's thread")(io::ErrorKind::NotFound);
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(BenchError::at("see the usage"))?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let process = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    Ok((thread.ok_or_else(gone)?, process))
}

fn thread_named(name: &str) -> Option<u32> {
    fs::read_dir("/proc/self/task").ok()?.flatten().find_map(|thread| {
        let called = fs::read_to_string(thread.path().join("comm")).ok()?;
        (called.trim() == name).then(|| thread.file_name().to_str()?.parse().ok())?
    })
}

fn show(report: &Report, how: &Governor) {
    let [before, after] = &report.load;
    say!("-----> The governor of many dynos, {} s each", how.seconds);
    say!("       percent of one core; load {before} before, {after} after");
    say!("dynos  each looked at  governor  with the engine");
    for cost in &report.costs {
        let Cost { dynos, looks, thread_percent, process_percent } = cost;
        let looks = looks.name();
        say!("{dynos:>5}  {looks:<14} {thread_percent:>8.2}  {process_percent:>15.2}");
    }
    let most = report.costs.iter().map(|cost| cost.thread_percent).fold(0.0, f64::max);
    let held = if most <= AIM_PERCENT { "held" } else { "not held" };
    say!(
        "aim: at most {AIM_PERCENT} % of a core with 1000: {held} with those measured ({most:.2} %)"
    );
    report.trace.show();
}
