//! `lathe bench router`: requests through the router with all its checks, headers and log lines,
//! beside nginx and `HAProxy` set up to do the same, on the same backend.

mod load;
mod own;
mod rival;

pub(super) use own::serve;

use super::BenchError;
use super::figures::{load as load_average, quantile, sorted};
use super::paper::Json;
use crate::cli::say::say;
use crate::host::packages;
use clap::Args;
use load::{Answers, Ask, ask};
use rival::{NEEDS, Places, Server, Way};
use serde::Serialize;
use std::path::Path;
use std::thread::available_parallelism;

const HOST: &str = "app.example.com";

/// What to measure with.
#[derive(Debug, Args)]
pub(in crate::cli) struct Router {
    /// Connections at once
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,64,512",
        value_parser = clap::value_parser!(u32).range(1..=2000)
    )]
    connections: Vec<u32>,
    /// Connections at once that each serve one request
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "64",
        value_parser = clap::value_parser!(u32).range(1..=2000)
    )]
    closing: Vec<u32>,
    /// Seconds of each way in a round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Rounds; in each, every way is asked once with each number of connections
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Serialize)]
struct Report {
    load: [String; 2],
    rows: Vec<Row>,
    /// The router's own account of its log: lines given to it, and those lost.
    lines: Option<(u64, u64)>,
}

/// One way with so many connections; medians of the rounds.
#[derive(Debug, Serialize)]
struct Row {
    way: Way,
    connections: u32,
    keep_alive: bool,
    requests_per_s: f64,
    /// Of the measured server alone.
    cpu_us_per_request: Option<f64>,
    p50_ms: f64,
    p99_ms: f64,
    failures: u64,
    /// Of the same round: CPU and p99, over those of nginx.
    cpu_times_nginx: Option<f64>,
    p99_times_nginx: f64,
}

/// One way in one round.
#[derive(Clone, Copy)]
struct Sample {
    answers: Answers,
    cpu_us: Option<f64>,
}

pub(super) fn router(how: &Router) -> Result<(), BenchError> {
    packages::install_of(NEEDS, &mut |line| say!("       {line}"))?;
    let before = load_average();
    let room = tempfile::Builder::new().prefix("lathe-bench-").tempdir();
    let room = room.map_err(BenchError::at("make a directory"))?;
    let places = Places::of(available_parallelism().map_or(1, std::num::NonZero::get));
    let backend = Server::backend(room.path(), &places)?;
    let mut servers = Vec::new();
    for way in Way::ALL {
        servers.push((way, Server::open(way, room.path(), backend.address, &places)?));
    }
    let keeping = how.connections.iter().map(|connections| (*connections, true));
    let closing = how.closing.iter().map(|connections| (*connections, false));
    let mut rows = Vec::new();
    for (connections, keep_alive) in keeping.chain(closing) {
        let ask = Ask { connections, keep_alive, seconds: how.seconds };
        rows.extend(measure(&servers, &backend, ask, how.count, room.path(), &places)?);
    }
    let mut lines = None;
    for (_, server) in servers {
        let said = server.map_or(Ok(None), Server::close)?;
        lines = lines.or(said);
    }
    drop(backend);
    let report = Report { load: [before, load_average()], rows, lines };
    show(how, &report);
    how.json.write(&report)
}

/// Way by way and round by round, so that whatever else the machine does falls on all alike.
fn measure(
    servers: &[(Way, Option<Server>)],
    backend: &Server,
    asked: Ask,
    rounds: u32,
    dir: &Path,
    places: &Places,
) -> Result<Vec<Row>, BenchError> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for ((_, server), samples) in servers.iter().zip(&mut samples) {
            let address = server.as_ref().map_or(backend.address, |server| server.address);
            let before = server.as_ref().map(Server::cpu);
            let answers = ask(address, asked, dir, places)?;
            let spent = server.as_ref().map(Server::cpu).zip(before);
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let each = |(after, before): (std::time::Duration, std::time::Duration)| {
                after.saturating_sub(before).as_secs_f64() * 1e6 / answers.requests as f64
            };
            samples.push(Sample { answers, cpu_us: spent.map(each) });
        }
    }
    let nginx = servers.iter().position(|(way, _)| *way == Way::Nginx).unwrap_or(0);
    let rival = samples.get(nginx).cloned().unwrap_or_default();
    let rows = servers.iter().zip(&samples);
    Ok(rows.map(|((way, _), samples)| row(*way, asked, samples, &rival)).collect())
}

fn row(way: Way, asked: Ask, samples: &[Sample], nginx: &[Sample]) -> Row {
    let median = |of: &dyn Fn(&Sample) -> f64| quantile(&sorted(samples.iter().map(of)), 0.5);
    let ratio = |of: &dyn Fn(&Sample) -> f64| {
        let ratios = samples.iter().zip(nginx).map(|(own, nginx)| of(own) / of(nginx));
        quantile(&sorted(ratios), 0.5)
    };
    let cpu = |sample: &Sample| sample.cpu_us.unwrap_or(f64::NAN);
    let counted = samples.iter().all(|sample| sample.cpu_us.is_some());
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let per_second = |sample: &Sample| sample.answers.requests as f64 / sample.answers.seconds;
    Row {
        way,
        connections: asked.connections,
        keep_alive: asked.keep_alive,
        requests_per_s: median(&per_second),
        cpu_us_per_request: counted.then(|| median(&cpu)),
        p50_ms: median(&|sample| sample.answers.p50_ms),
        p99_ms: median(&|sample| sample.answers.p99_ms),
        failures: samples.iter().map(|sample| sample.answers.failures).sum(),
        cpu_times_nginx: counted.then(|| ratio(&cpu)),
        p99_times_nginx: ratio(&|sample| sample.answers.p99_ms),
    }
}

fn show(how: &Router, report: &Report) {
    let [before, after] = &report.load;
    say!("-----> {} s each, medians of {} rounds, ways in turn", how.seconds, how.count);
    say!("       load {before} before, {after} after");
    say!(
        "{:<24} {:>5} {:<7} {:>9} {:>10} {:>8} {:>8} {:>7} {:>7} {:>5}",
        "way",
        "conns",
        "",
        "req/s",
        "CPU us/req",
        "p50 ms",
        "p99 ms",
        "x CPU",
        "x p99",
        "fail"
    );
    for row in &report.rows {
        let optional =
            |figure: Option<f64>| figure.map_or("-".into(), |figure| format!("{figure:.2}"));
        say!(
            "{:<24} {:>5} {:<7} {:>9.0} {:>10} {:>8.2} {:>8.2} {:>7} {:>7.2} {:>5}",
            row.way.name(),
            row.connections,
            if row.keep_alive { "kept" } else { "closing" },
            row.requests_per_s,
            optional(row.cpu_us_per_request),
            row.p50_ms,
            row.p99_ms,
            optional(row.cpu_times_nginx),
            row.p99_times_nginx,
            row.failures
        );
    }
    say!("x: times nginx's, of the same round. All write a log line for each request.");
    if let Some((sent, lost)) = report.lines {
        say!("lathe's log was given {sent} lines and lost {lost}");
    }
}
