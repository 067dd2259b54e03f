//! `lathe bench logs`: from a dyno's pipe to a drain, each line counted, beside rsyslog.

mod hub;
mod sink;
mod way;

pub(super) use hub::serve;

use super::BenchError;
use super::figures::{load, quantile, sorted};
use super::paper::Json;
use crate::cli::say::say;
use clap::Args;
use serde::Serialize;
use way::{Run, Way};

/// What to measure with.
#[derive(Debug, Args)]
pub(in crate::cli) struct Logs {
    /// Lines of 120 bytes in each round
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    lines: u64,
    /// Rounds; in each, both carry all lines once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Serialize)]
struct Report {
    load: [String; 2],
    lines: u64,
    rows: Vec<Row>,
    /// Lines a second and core, Lathe's over rsyslog's, median of the rounds.
    ratio: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Row {
    way: &'static str,
    lines_per_second: f64,
    lines_per_second_and_core: f64,
    cpu_ns_per_line: f64,
}

pub(super) fn logs(how: &Logs) -> Result<(), BenchError> {
    let before = load();
    let rival = way::rsyslog_is_here();
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for _ in 0..how.count {
        own.push(Way::Lathe.carry(how.lines)?);
        if rival {
            others.push(Way::Rsyslog.carry(how.lines)?);
        }
    }
    let ratios = own.iter().zip(&others).map(|(own, other)| other.cpu_ns / own.cpu_ns);
    let ratio = rival.then(|| quantile(&sorted(ratios), 0.5));
    let mut rows = vec![row("lathe, pipe to drain", how.lines, &own)];
    if rival {
        rows.push(row("rsyslog, TCP to TCP", how.lines, &others));
    }
    let report = Report { load: [before, load()], lines: how.lines, rows, ratio };
    show(how, &report);
    how.json.write(&report)
}

fn row(way: &'static str, lines: u64, runs: &[Run]) -> Row {
    let median = |of: fn(&Run) -> f64| quantile(&sorted(runs.iter().map(of)), 0.5);
    let (wall_s, cpu_ns) = (median(|run| run.wall.as_secs_f64()), median(|run| run.cpu_ns));
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let lines_per_second = lines as f64 / wall_s;
    Row { way, lines_per_second, lines_per_second_and_core: 1e9 / cpu_ns, cpu_ns_per_line: cpu_ns }
}

fn show(how: &Logs, report: &Report) {
    let [before, after] = &report.load;
    say!("-----> {} lines of 120 bytes, {} rounds, every line accounted for", how.lines, how.count);
    say!("       medians; load {before} before, {after} after");
    say!("way                       lines/s  lines/s/core  CPU ns/line");
    for row in &report.rows {
        say!(
            "{:<22} {:>10.0} {:>13.0} {:>12.0}",
            row.way,
            row.lines_per_second,
            row.lines_per_second_and_core,
            row.cpu_ns_per_line
        );
    }
    match report.ratio {
        Some(ratio) => say!("lines/s/core: {ratio:.2} times rsyslog's"),
        None => say!("rsyslog is not installed: apt-get install rsyslog"),
    }
}
