//! `lathe bench push`: a whole platform of its own, and the same small push again and again.

use super::BenchError;
use super::figures::{milliseconds, quantile, sorted};
use super::ground::{self, Owner};
use super::paper::Json;
use super::steps::{Passed, Steps};
use crate::cli::say::say;
use crate::cli::up;
use crate::config::Config;
use crate::roles::Running;
use clap::Args;
use lathe_dynos::spec::{DynoId, DynoState, Observed};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

const APP: &str = "bench-sample";

/// Pushes that are not counted: the first makes the repository, the app's disk and the caches.
const WARM_UP: u32 = 2;

/// What a push passes before everything else.
const FIRST: &str = "push asked for";

/// The step that is the buildpack's own work, and the one that is mostly the app's.
const BUILDPACK: &str = "compiled";
const BOOT: &str = "port bound";

/// How much to measure.
#[derive(Debug, Args)]
pub(in crate::cli) struct Push {
    /// Pushes after the first ones
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    json: Json,
}

/// The way from one point to the next, in the median of all pushes.
#[derive(Debug, Serialize)]
struct Step {
    point: String,
    /// From the point before it.
    took_ms: f64,
    /// From the beginning of the push.
    at_ms: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    pushes: u32,
    load: [String; 2],
    steps: Vec<Step>,
    total_ms: f64,
    /// Of each push everything but the buildpack's step, the median of it.
    platform_ms: f64,
    /// Of that, without the time the app takes until it listens.
    platform_without_boot_ms: f64,
}

pub(super) async fn push(mut config: Config, how: &Push, steps: &Steps) -> Result<(), BenchError> {
    let room = ground::lay_out(&mut config)?;
    let running = up::start(config).await?;
    let measured = measure(&running, room.path(), how.count, steps).await;
    running.stop(true).await;
    let report = measured?;
    show(&report);
    how.json.write(&report)
}

async fn measure(
    running: &Running,
    room: &Path,
    count: u32,
    steps: &Steps,
) -> Result<Report, BenchError> {
    let sample = Owner::of(running)?.create(APP, room).await?;
    let watching = tokio::spawn(watch_dynos(running.observed.clone(), steps.clone()));
    let mut pushes = Vec::new();
    let before = super::figures::load();
    for turn in 0..WARM_UP + count {
        sample.change("CHANGES", &format!("{turn}\n")).await?;
        drop(steps.take());
        let begin = Instant::now();
        // A first push that fails should say why; the others say the same as it.
        let said = if turn == 0 { Stdio::inherit() } else { Stdio::null() };
        sample.push(said).await?;
        steps.note("git ended");
        if turn >= WARM_UP {
            pushes.push(Times::of(begin, steps.take()));
        }
    }
    watching.abort();
    Ok(report(&pushes, [before, super::figures::load()]))
}

/// Notes when the cell has started a dyno, and when it listens.
async fn watch_dynos(mut observed: watch::Receiver<Arc<Observed>>, steps: Steps) {
    let (mut started, mut up) = (BTreeSet::<DynoId>::new(), BTreeSet::<DynoId>::new());
    while observed.changed().await.is_ok() {
        let now = observed.borrow_and_update().clone();
        for dyno in now.dynos.values() {
            let Some(id) = dyno.id else { continue };
            if dyno.address.is_some() && started.insert(id) {
                steps.note("dyno started");
            }
            if dyno.state == DynoState::Up && up.insert(id) {
                steps.note("port bound");
            }
        }
    }
}

/// The points of one push, milliseconds after its beginning, each once.
struct Times(Vec<(String, f64)>);

impl Times {
    fn of(begin: Instant, passed: Vec<Passed>) -> Self {
        let mut times: Vec<(String, f64)> = Vec::new();
        let mut passed = passed;
        passed.sort_by_key(|(_, at)| *at);
        // Dynos of the push before may still be draining.
        let own = passed.iter().position(|(point, _)| point == FIRST).unwrap_or_default();
        for (point, at) in passed.into_iter().skip(own) {
            // Old dynos lose their places behind the new ones' backs: the first time counts.
            if times.iter().all(|(known, _)| *known != point) {
                times.push((point, milliseconds(at.saturating_duration_since(begin))));
            }
        }
        Self(times)
    }

    fn at(&self, point: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == point).map(|(_, at)| *at)
    }

    fn took(&self, point: &str) -> Option<f64> {
        let index = self.0.iter().position(|(name, _)| name == point)?;
        let before = index.checked_sub(1).map_or(0.0, |index| self.0[index].1);
        Some(self.0[index].1 - before)
    }

    fn total(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, at)| *at)
    }
}

fn report(pushes: &[Times], load: [String; 2]) -> Report {
    let median = |values: &mut dyn Iterator<Item = f64>| quantile(&sorted(values), 0.5);
    let points: BTreeSet<&str> =
        pushes.iter().flat_map(|times| times.0.iter().map(|(point, _)| point.as_str())).collect();
    let mut steps: Vec<Step> = points
        .into_iter()
        .map(|point| Step {
            point: point.to_owned(),
            took_ms: median(&mut pushes.iter().filter_map(|times| times.took(point))),
            at_ms: median(&mut pushes.iter().filter_map(|times| times.at(point))),
        })
        .collect();
    steps.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
    let platform = |times: &Times| times.total() - times.took(BUILDPACK).unwrap_or_default();
    let without_boot = |times: &Times| platform(times) - times.took(BOOT).unwrap_or_default();
    Report {
        pushes: u32::try_from(pushes.len()).unwrap_or(u32::MAX),
        load,
        total_ms: median(&mut pushes.iter().map(Times::total)),
        platform_ms: median(&mut pushes.iter().map(platform)),
        platform_without_boot_ms: median(&mut pushes.iter().map(without_boot)),
        steps,
    }
}

fn show(report: &Report) {
    let [before, after] = &report.load;
    say!("-----> git push to live, median of {} warm pushes of the sample", report.pushes);
    say!("       load {before} before, {after} after");
    say!("{:<28} {:>9} {:>9}", "until", "took ms", "at ms");
    for step in &report.steps {
        say!("{:<28} {:>9.1} {:>9.1}", step.point, step.took_ms, step.at_ms);
    }
    say!("{:<28} {:>9.1}", "in all", report.total_ms);
    say!("{:<28} {:>9.1}", "without the buildpack", report.platform_ms);
    say!("{:<28} {:>9.1}", "and without the app's boot", report.platform_without_boot_ms);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_point_counts_from_the_one_before_it() {
        let begin = Instant::now();
        let at = |name: &str, ms| (name.to_owned(), begin + Duration::from_millis(ms));
        let passed = vec![at("b", 30), at(BUILDPACK, 10), at("b", 40), at("c", 60)];
        let times = Times::of(begin, passed);
        for (point, expected) in [(BUILDPACK, 10.0), ("b", 20.0), ("c", 30.0)] {
            assert!((times.took(point).unwrap() - expected).abs() < 1e-6, "{point}");
        }
        let report = report(&[times], ["0".into(), "0".into()]);
        assert!((report.total_ms - 60.0).abs() < 1e-6);
        assert!((report.platform_ms - 50.0).abs() < 1e-6);
    }
}
