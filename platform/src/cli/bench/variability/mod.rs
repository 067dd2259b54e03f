//! `lathe bench variability`: how much a request's time varies by class, quiet and among noisy
//! neighbours, with CPU credits and without, and which class is worth its price.
//!
//! The experiment is Chris Coffey's ("Understanding variability in Heroku dyno performance", 2021):
//! an app reads a large JSON document many times for each request and says what each time took.

mod advice;
mod caller;
mod scene;
mod summary;

use super::chart::{Axis, Mark, Plot, Series};
use super::figures::{load, milliseconds};
use super::paper::{Json, Svg};
use super::work::Run;
use super::yard::{ENFORCE, Worker, Yard, spent};
use super::{BenchError, within};
use crate::cli::say::say;
use crate::config::Config;
use caller::Caller;
use clap::Args;
use lathe_dynos::class::{Class, SHARES_OF_CPU};
use lathe_dynos::governor::setting::Setting;
use scene::{Demand, Scene};
use serde::Serialize;
use std::io;
use std::thread::available_parallelism;
use std::time::Duration;
use summary::{Answer, Row};

/// Dynos of each class in each scene: one alone could be the lucky one.
const DYNOS: u32 = 3;
/// A neighbour works and rests so long.
const NEIGHBOUR_MS: u64 = 5000;
/// Of its baseline, how much a paced dyno uses.
const PACE: f64 = 0.8;

/// How much to measure.
#[derive(Debug, Args)]
pub(in crate::cli) struct Variability {
    /// Requests to each class in each scene
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(3..))]
    runs: u32,
    /// How often the document is read for each request
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Records of the document, 240 bytes each
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    records: u32,
    /// Parse it, or decrypt and parse it
    #[arg(long, default_value = "parse", value_parser = ["parse", "decrypt"])]
    work: String,
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "Eco,Basic,Standard-1X,Standard-2X,performance-1x,Performance-M"
    )]
    classes: Vec<String>,
    /// Requests at once after the other, or as many as the baseline lasts for
    #[arg(long, value_enum, value_delimiter = ',', default_value = "busy,paced")]
    demand: Vec<Demand>,
    /// Neighbours for each CPU of the machine, in noisy scenes
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    neighbours: u32,
    #[arg(long, default_value = "Eco")]
    neighbour_class: String,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    svg: Svg,
}

#[derive(Debug, Serialize)]
struct Report {
    load: [String; 2],
    work: String,
    records: u32,
    times: u32,
    /// Beside a dyno in noisy scenes, and of which class.
    neighbours: u32,
    neighbour_class: String,
    rows: Vec<Row>,
    advice: Vec<String>,
    /// Every request, by row.
    answers: Vec<Vec<Answer>>,
    /// Classes that could not be measured, and why.
    absent: Vec<(String, String)>,
}

pub(super) async fn variability(config: &Config, how: &Variability) -> Result<(), BenchError> {
    let before = load();
    let cpus = available_parallelism().map_or(1, std::num::NonZero::get);
    let (classes, absent) = choose(config, &how.classes, cpus);
    let neighbour = config.classes.named(&how.neighbour_class);
    let missing = || BenchError::at("find the neighbours' class")(io::ErrorKind::NotFound);
    let neighbour = neighbour.ok_or_else(missing)?;
    let count = how.neighbours * u32::try_from(cpus).unwrap_or(1);
    let yard = Yard::open(config).await?;
    let measured = within(async {
        let (mut rows, mut answers) = (Vec::new(), Vec::new());
        for scene in Scene::all(&how.demand) {
            yard.treat(if scene.credits { ENFORCE } else { Setting::Off })?;
            let beside = if scene.noisy { count } else { 0 };
            let noise = crowd(&yard, &neighbour, beside).await?;
            for (class, of_class) in classes.iter().zip(play(&yard, scene, &classes, how).await?) {
                rows.push(Row::of(scene, class, &of_class));
                answers.push(of_class);
            }
            yard.end(noise).await?;
        }
        Ok((rows, answers))
    })
    .await;
    yard.close().await?;
    let (rows, answers) = measured?;
    let report = Report {
        load: [before, load()],
        work: how.work.clone(),
        records: how.records,
        times: how.times,
        neighbours: count,
        neighbour_class: neighbour.name,
        advice: advice::advice(&rows),
        rows,
        answers,
        absent,
    };
    show(&report);
    how.svg.draw(&plots(&report))?;
    how.json.write(&report)
}

/// The classes there are and that fit on this machine one at a time.
fn choose(config: &Config, names: &[String], cpus: usize) -> (Vec<Class>, Vec<(String, String)>) {
    let (mut classes, mut absent) = (Vec::new(), Vec::new());
    for name in names {
        match config.classes.named(name) {
            None => absent.push((name.clone(), "there is no such class".into())),
            Some(class) if class.own_cpus as usize > cpus => {
                let why = format!("it has {} CPUs to itself, here are {cpus}", class.own_cpus);
                absent.push((class.name, why));
            }
            Some(class) => classes.push(class),
        }
    }
    (classes, absent)
}

/// Neighbours that work and rest, out of step with each other; they begin without balance.
async fn crowd(yard: &Yard, class: &Class, count: u32) -> Result<Vec<Worker>, BenchError> {
    let mut crowd = Vec::new();
    let period = NEIGHBOUR_MS.to_string();
    for number in 0..u64::from(count) {
        let after = (number * 2 * NEIGHBOUR_MS / u64::from(count)).to_string();
        let work = ["spin", "--on-ms", &period, "--off-ms", &period, "--after-ms", &after];
        crowd.push(yard.start(&spent(class), &work).await?);
    }
    yard.governed(&crowd).await?;
    Ok(crowd)
}

/// Every class in turn, a dyno each, and that as often as each has dynos: whatever else the machine
/// does falls on all alike.
async fn play(
    yard: &Yard,
    scene: Scene,
    classes: &[Class],
    how: &Variability,
) -> Result<Vec<Vec<Answer>>, BenchError> {
    let mut answers = vec![Vec::new(); classes.len()];
    for dyno in 0..DYNOS {
        // Each class comes after each other one in turn.
        let first = dyno as usize % classes.len().max(1);
        for index in (first..classes.len()).chain(0..first) {
            let runs = (how.runs * (dyno + 1)) / DYNOS - (how.runs * dyno) / DYNOS;
            let runs = visit(yard, scene, &classes[index], how, runs).await?;
            let dyno = dyno as usize;
            answers[index].extend(runs.into_iter().map(|run| Answer { dyno, run }));
        }
    }
    Ok(answers)
}

/// So many requests to one dyno.
async fn visit(
    yard: &Yard,
    scene: Scene,
    class: &Class,
    how: &Variability,
    runs: u32,
) -> Result<Vec<Run>, BenchError> {
    // Who wants everything is measured as it stays; who does not, as it comes.
    let as_it_is = if scene.demand == Demand::Busy { spent(class) } else { class.clone() };
    let dyno = yard.start(&as_it_is, &["serve", "--records", &how.records.to_string()]).await?;
    let mut caller = Caller::connect(&dyno).await?;
    // Pages are touched for the first time.
    caller.call(&how.work, 1).await?;
    let mut answers = Vec::new();
    for _ in 0..runs {
        let run = caller.call(&how.work, how.times).await?;
        if scene.demand == Demand::Paced {
            let baseline = f64::from(class.cpu_shares) / f64::from(SHARES_OF_CPU);
            let period = Duration::from_nanos(run.cpu_ns).div_f64(baseline.min(1.0) * PACE);
            tokio::time::sleep(period.saturating_sub(Duration::from_nanos(run.duration_ns))).await;
        }
        answers.push(run);
    }
    yard.end(vec![dyno]).await?;
    Ok(answers)
}

fn show(report: &Report) {
    let [before, after] = &report.load;
    let Report { work, records, times, neighbours, neighbour_class, .. } = report;
    say!("-----> {work} {records} records {times} times for each request, {DYNOS} dynos each");
    say!("       load {before} before, {after} after; noisy: {neighbours} of {neighbour_class}");
    say!(
        "{:<21} {:<15} {:>4} {:>9} {:>9} {:>9} {:>6} {:>8} {:>11}",
        "scene",
        "class",
        "runs",
        "median ms",
        "p90 ms",
        "p99 ms",
        "CoV",
        "CPU ms",
        "req/s/$100"
    );
    for row in &report.rows {
        let density = row.requests_per_s_and_100_dollars;
        let density = density.map_or("-".to_owned(), |density| format!("{density:.2}"));
        say!(
            "{:<21} {:<15} {:>4} {:>9.1} {:>9.1} {:>9.1} {:>6.3} {:>8.1} {density:>11}",
            row.scene.to_string(),
            row.class,
            row.runs,
            row.median_ms,
            row.p90_ms,
            row.p99_ms,
            row.variation,
            row.cpu_ms,
        );
    }
    for (name, reason) in &report.absent {
        say!("absent: {name}: {reason}");
    }
    for line in &report.advice {
        say!("{line}");
    }
}

/// For each scene the original's scatter, and the distribution of the requests.
fn plots(report: &Report) -> Vec<Plot> {
    let mut scenes: Vec<Scene> = Vec::new();
    for row in &report.rows {
        if !scenes.contains(&row.scene) {
            scenes.push(row.scene);
        }
    }
    let of = |scene: Scene| {
        let both = report.rows.iter().zip(&report.answers);
        both.filter(move |(row, _)| row.scene == scene)
    };
    let mut plots = Vec::new();
    for scene in scenes {
        let title = scene.title();
        // A document that is read once has no spread of its own.
        if report.times > 1 {
            let scatter = of(scene).map(|(row, answers)| Series {
                name: row.class.clone(),
                mark: Mark::Dots,
                points: answers.iter().map(|answer| spread(&answer.run)).collect(),
            });
            plots.push(Plot {
                title: format!("{title}: median, and from median to p90, of each request"),
                x: Axis::Log("ms"),
                y: Axis::Linear("ms"),
                series: scatter.collect(),
            });
        }
        let shares = of(scene).map(|(row, answers)| distribution(&row.class, answers));
        plots.push(Plot {
            title: format!("{title}: requests that took at most so long, percent"),
            x: Axis::Log("ms"),
            y: Axis::Linear(""),
            series: shares.collect(),
        });
    }
    plots
}

fn spread(run: &Run) -> (f64, f64) {
    let times = run.each_ns.iter().map(|ns| milliseconds(Duration::from_nanos(*ns)));
    let times = super::figures::sorted(times);
    let quantile = |share| super::figures::quantile(&times, share);
    (quantile(0.5), quantile(0.9) - quantile(0.5))
}

fn distribution(class: &str, answers: &[Answer]) -> Series {
    let times = answers.iter().map(|answer| Duration::from_nanos(answer.run.duration_ns));
    let times = super::figures::sorted(times.map(milliseconds));
    let mut series = Series::counted(class.to_owned(), &times);
    for point in &mut series.points {
        point.1 *= 100.0 / f64::from(u32::try_from(times.len().max(1)).unwrap_or(u32::MAX));
    }
    series
}
