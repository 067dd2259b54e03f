//! `lathe bench stress`: fills a platform of its own until it admits no more, holds it there, and shows
//! what the API and the platform's loops take meanwhile.

mod pace;

pub(super) use pace::{Pace, listen};

use super::BenchError;
use super::burst::{Caller, DYNOS_OF_APP, SIZE, deploy, tear_down};
use super::chart::{Axis, Mark, Plot, Series};
use super::figures::{Latency, load, milliseconds};
use super::ground::{self, Owner};
use super::paper::{Json, Svg};
use crate::cli::client::ClientError;
use crate::cli::say::say;
use crate::cli::up;
use crate::config::Config;
use crate::host::size;
use crate::roles::Running;
use clap::Args;
use http::Method;
use lathe_dynos::class::{Capacity, Demand};
use lathe_dynos::spec::DynoState;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Dynos asked for at once.
const STEP: u32 = 10;
/// Between two rounds of calls while it is held.
const ROUND: Duration = Duration::from_millis(250);
/// All that was admitted is up within this.
const PATIENCE: Duration = Duration::from_mins(15);
/// No account may have more (Heroku Dev Center, "Limits").
const APPS_MAX: u64 = 100;

/// How long.
#[derive(Debug, Args)]
pub(in crate::cli) struct Stress {
    /// Seconds to hold the full platform
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    hold: u64,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    svg: Svg,
}

#[derive(Debug, Serialize)]
struct Report {
    class: &'static str,
    load_before: String,
    /// Dynos that were admitted, and until the last of them was up.
    dynos: u32,
    filled_s: f64,
    held_s: u64,
    /// Of a full platform, by reason.
    refusals: BTreeMap<String, usize>,
    /// By what was called, while it was being filled and while it was full.
    calls_filling: BTreeMap<&'static str, Latency>,
    calls_full: BTreeMap<&'static str, Latency>,
    /// By loop, how long each turn took.
    loops: BTreeMap<String, Latency>,
    turns_not_kept: u64,
    tear_down_s: f64,
}

/// One call of the API.
#[derive(Debug)]
struct Call {
    what: &'static str,
    at: Instant,
    took: Duration,
    /// Why it was refused, if it was.
    refused: Option<String>,
}

pub(super) async fn stress(
    mut config: Config,
    how: &Stress,
    pace: &Pace,
) -> Result<(), BenchError> {
    let room = ground::lay_out(&mut config)?;
    let capacity = size::capacity(config.room);
    // Thousands of dynos would outlive a measurement that is only killed.
    let mut signals = up::Signals::watch()?;
    let running = up::start(config).await?;
    let measured = tokio::select! {
        measured = measure(&running, room.path(), capacity, how, pace) => measured,
        _ = signals.next() => Err(BenchError::at("go on")(io::ErrorKind::Interrupted)),
    };
    say!("       Tearing down");
    running.stop(true).await;
    let (report, plots) = measured?;
    show(&report);
    how.svg.draw(&plots)?;
    how.json.write(&report)
}

async fn measure(
    running: &Running,
    room: &Path,
    capacity: Capacity,
    how: &Stress,
    pace: &Pace,
) -> Result<(Report, [Plot; 2]), BenchError> {
    let owner = Owner::of(running)?;
    let load_before = load();
    let apps = deploy(&owner, room, fitting(running, &capacity)).await?;
    drop(pace.take());
    let begin = Instant::now();
    let mut caller = Caller::connect(running.endpoints.api_plain, &owner.token).await?;
    say!("-----> Filling with dynos of class {SIZE}");
    let (dynos, filling) = fill(&mut caller, &apps).await?;
    until_up(running, dynos).await?;
    let filled = begin.elapsed();
    say!("-----> Holding {dynos} dynos for {} s", how.hold);
    let full = hold(&mut caller, &apps, Duration::from_secs(how.hold)).await?;
    let tear_down = tear_down(running, &owner.token, &apps).await?;
    let (turns, turns_not_kept) = pace.take();
    let mut loops: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for turn in &turns {
        let took = Duration::from_secs_f64(turn.took_ms / 1000.0);
        loops.entry(turn.name.clone()).or_default().push(took);
    }
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    for reason in filling.iter().chain(&full).filter_map(|call| call.refused.clone()) {
        *refusals.entry(reason).or_default() += 1;
    }
    let report = Report {
        class: SIZE,
        load_before,
        dynos,
        filled_s: filled.as_secs_f64(),
        held_s: how.hold,
        refusals,
        calls_filling: by_call(&filling),
        calls_full: by_call(&full),
        loops: loops
            .into_iter()
            .map(|(name, turns)| (name, Latency::of(turns.into_iter())))
            .collect(),
        turns_not_kept,
        tear_down_s: tear_down.as_secs_f64(),
    };
    let calls: Vec<&Call> = filling.iter().chain(&full).collect();
    Ok((report, charts(dynos, &calls, &turns, begin)))
}

/// How many dynos are certain to be more than fit, as far as an account may have them.
fn fitting(running: &Running, capacity: &Capacity) -> u32 {
    let class = running.config.classes.named(SIZE);
    let each = class.as_ref().map(Demand::from).unwrap_or_default();
    let by_memory = capacity.memory_bytes / each.memory_bytes.max(1);
    let by_shares = capacity.shares / each.shares.max(1);
    let most = APPS_MAX * u64::from(DYNOS_OF_APP);
    u32::try_from((by_memory.min(by_shares) + 1).min(most)).unwrap_or(u32::MAX)
}

/// Asks for more, app by app, until not even one more is admitted; gives how many were.
async fn fill(caller: &mut Caller, apps: &[String]) -> Result<(u32, Vec<Call>), BenchError> {
    let (mut calls, mut admitted) = (Vec::new(), 0);
    for app in apps {
        let (mut quantity, mut step) = (0, STEP);
        while quantity < DYNOS_OF_APP {
            let more = quantity + step.min(DYNOS_OF_APP - quantity);
            let call = scale(caller, app, more).await?;
            let refused = call.refused.is_some();
            calls.push(call);
            match (refused, step) {
                (false, _) => {
                    admitted += more - quantity;
                    quantity = more;
                }
                (true, 1) => return Ok((admitted, calls)),
                (true, _) => step = 1,
            }
        }
    }
    Ok((admitted, calls))
}

async fn until_up(running: &Running, dynos: u32) -> Result<(), BenchError> {
    let mut observed = running.observed.clone();
    let all = observed.wait_for(|seen| {
        let up = seen.dynos.values().filter(|dyno| dyno.state == DynoState::Up);
        up.count() >= dynos as usize
    });
    let slow = |_| BenchError::at("see all dynos up in time")(io::ErrorKind::TimedOut);
    let seen = tokio::time::timeout(PATIENCE, all).await.map_err(slow)?;
    seen.map(drop).map_err(|error| BenchError::at("watch")(io::Error::other(error)))
}

/// The full platform answers all along: what is read is read, and more is refused with the reason.
async fn hold(
    caller: &mut Caller,
    apps: &[String],
    length: Duration,
) -> Result<Vec<Call>, BenchError> {
    let (mut calls, until) = (Vec::new(), Instant::now() + length);
    let run = json!({"command": "true", "attach": false, "size": SIZE});
    for app in apps.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let (one, list) = (format!("/apps/{app}"), format!("/apps/{app}/dynos"));
        calls.push(call(caller, "read an app", Method::GET, &one, &json!({})).await?);
        calls.push(call(caller, "list its dynos", Method::GET, &list, &json!({})).await?);
        calls.push(call(caller, "run one more", Method::POST, &list, &run).await?);
        tokio::time::sleep(ROUND).await;
    }
    Ok(calls)
}

async fn scale(caller: &mut Caller, app: &str, quantity: u32) -> Result<Call, BenchError> {
    let body = json!({"quantity": quantity, "size": SIZE});
    call(caller, "scale", Method::PATCH, &format!("/apps/{app}/formation/worker"), &body).await
}

/// A refusal for want of room is an answer; anything else that is none fails the measurement.
async fn call(
    caller: &mut Caller,
    what: &'static str,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<Call, BenchError> {
    let at = Instant::now();
    match caller.call(method, path, body).await {
        Ok((_, took)) => Ok(Call { what, at, took, refused: None }),
        Err(BenchError::Client(ClientError::Refused { status: 422, body, .. })) => {
            Ok(Call { what, at, took: at.elapsed(), refused: Some(reason(&body)) })
        }
        Err(other) => Err(other),
    }
}

/// What there is not enough of, without the numbers that differ from call to call.
fn reason(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let message = body["message"].as_str().unwrap_or("no reason given");
    let words = message.split(". ").next().unwrap_or(message);
    let short = words.split_once("no room").map(|(_, rest)| format!("no room{rest}"));
    short.unwrap_or_else(|| words.to_owned())
}

fn by_call(calls: &[Call]) -> BTreeMap<&'static str, Latency> {
    let mut by_call: BTreeMap<&'static str, Vec<Duration>> = BTreeMap::new();
    for call in calls {
        by_call.entry(call.what).or_default().push(call.took);
    }
    by_call.into_iter().map(|(what, took)| (what, Latency::of(took.into_iter()))).collect()
}

fn charts(dynos: u32, calls: &[&Call], turns: &[pace::Turn], begin: Instant) -> [Plot; 2] {
    let seconds = |at: Instant| at.saturating_duration_since(begin).as_secs_f64();
    let mut of_calls: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for call in calls {
        let point = (seconds(call.at), milliseconds(call.took));
        of_calls.entry(call.what).or_default().push(point);
    }
    let mut of_loops: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for turn in turns {
        of_loops.entry(&turn.name).or_default().push((seconds(turn.ended), turn.took_ms));
    }
    let plot = |title: String, all: BTreeMap<&str, Vec<(f64, f64)>>| {
        let series = all.into_iter().map(|(name, points)| Series {
            name: name.to_owned(),
            mark: Mark::Dots,
            points,
        });
        let (x, y) = (Axis::Linear("s"), Axis::Log("ms"));
        Plot { title, x, y, series: series.collect() }
    };
    [
        plot(format!("Calls of the API, {dynos} dynos"), of_calls),
        plot("Turns of the platform's loops".to_owned(), of_loops),
    ]
}

fn show(report: &Report) {
    say!("       load {} before", report.load_before);
    say!("dynos              {:>7} admitted, all up after {:.1} s", report.dynos, report.filled_s);
    for (reason, count) in &report.refusals {
        say!("refused            {count:>7} {reason}");
    }
    let filling =
        report.calls_filling.iter().map(|(what, took)| (format!("{what}, filling"), took));
    let full = report.calls_full.iter().map(|(what, took)| (format!("{what}, full"), took));
    let loops = report.loops.iter().map(|(name, took)| (format!("the {name}'s turn"), took));
    for (what, Latency { requests, p50_ms, p99_ms, max_ms }) in filling.chain(full).chain(loops) {
        say!("{what:<22} {requests:>7} {p50_ms:>8.2} ms {p99_ms:>8.2} ms {max_ms:>8.2} ms");
    }
    say!("tear-down          {:>7.1} s", report.tear_down_s);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_their_reason() {
        let body = json!({"message": "Cannot scale worker to 90 (4 fit): no room for a dyno of \
            class Basic: it has 512 MB of memory. Scale something down or choose another"});
        let short = "no room for a dyno of class Basic: it has 512 MB of memory";
        assert_eq!(reason(&body.to_string()), short);
        assert_eq!(reason(&json!({"message": "Another thing"}).to_string()), "Another thing");
        assert_eq!(reason("no JSON"), "no reason given");
    }
}
