//! `lathe drill kill`: the parts of a platform are killed in turn, every other second, for as long as
//! one likes, while visitors come to two apps. None of them is to notice.

use super::apps::Apps;
use super::parts::Part;
use super::service::Service;
use super::visitors::{Tally, Visitors};
use super::{DrillError, apps};
use crate::cli::bench::Latency;
use crate::cli::env::Access;
use crate::cli::say::say;
use crate::cli::up::{self, Signals};
use crate::cli::{CliError, runtime};
use crate::config::{Config, Flags};
use crate::endpoints::Endpoints;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::{Instant as Deadline, sleep, timeout_at};

/// What dies together, over and over in this order.
const TURNS: [&[Part]; 6] = [
    &[Part::Platform],
    &[Part::Router],
    &[Part::Spawner],
    &[Part::Keeper],
    &[Part::Platform, Part::Spawner],
    &[Part::Keeper, Part::Platform, Part::Router],
];
/// After a kill all parts are there again, and every dyno is known, within this.
const AIM: Duration = Duration::from_secs(10);
/// For what does not come back at all.
const PATIENCE: Duration = Duration::from_mins(2);
/// Below those that outgoing connections have (`ip_local_port_range` of ip(7)).
const PORTS: Range<u16> = 20_000..32_000;
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(in crate::cli) struct Kill {
    /// Seconds during which something is killed
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 600)]
    seconds: u64,
    /// Milliseconds from one to the next
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2000)]
    every: u64,
    /// Visitors at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    visitors: u16,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Where what the platform says goes [default: nowhere]
    #[arg(long, value_name = "FILE")]
    keep_log: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    seconds: u64,
    kills: BTreeMap<Part, usize>,
    visits: Tally,
    answers: Latency,
    /// From a kill until all was there again.
    whole_again: Latency,
    /// Dynos that are not there any more as they were.
    dynos_lost: Vec<String>,
    held: bool,
}

pub(super) fn kill(config: Config, flags: &Flags, how: &Kill) -> Result<ExitCode, CliError> {
    up::prepare_host(false)?;
    Ok(runtime()?.block_on(perform(config, flags, how))?)
}

async fn perform(mut config: Config, flags: &Flags, how: &Kill) -> Result<ExitCode, CliError> {
    let room = tempfile::Builder::new().prefix("lathe-drill-").tempdir();
    let room = room.map_err(DrillError::at("make a directory"))?;
    config.data = room.path().join("data");
    let log = how.keep_log.as_deref().unwrap_or(Path::new("/dev/null"));
    let log = File::create(log).map_err(DrillError::at("write the log"))?;
    let mut signals = Signals::watch()?;
    let service = Service::start(words(flags, &config.data), log);
    let drilled = tokio::select! {
        drilled = drill(&service, &config, room.path(), how) => drilled,
        _ = signals.next() => Err(DrillError::Stopped.into()),
    };
    service.stop(&config).await?;
    let report = drilled?;
    if how.json {
        say!("{}", serde_json::json!(report));
    } else {
        show(&report);
    }
    Ok(if report.held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As it was called, on a directory and ports of its own. They stay the same when nobody is left who
/// could hand a socket on, and are none that the kernel gives to others meanwhile.
fn words(flags: &Flags, data: &Path) -> Vec<OsString> {
    let doors = ["api_tls", "api_plain", "rendezvous", "router", "router_tls"];
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let first = PORTS.start + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    let ports = (first..PORTS.end).filter(is_free);
    let set = doors.into_iter().zip(ports);
    let set = set.map(|(door, port)| (format!("listen.{door}"), format!("127.0.0.1:{port}")));
    let mut flags = flags.clone();
    flags.set.splice(0..0, set);
    flags.words(data)
}

async fn drill(
    service: &Service,
    config: &Config,
    room: &Path,
    how: &Kill,
) -> Result<Report, CliError> {
    let endpoints = service.endpoints(config).await?;
    let apps = Apps::make(&Access::of(config)?, room).await?;
    let site = Site { config, endpoints, apps };
    let before = site.until_whole().await?;
    let visitors = Visitors::send(how.visitors.into(), site.endpoints.router, &config.apps_domain);
    let killed = kill_in_turn(&site, how).await;
    let visits = visitors.call_back().await;
    let (kills, whole_again, after) = killed?;
    let routers = kills.iter().filter(|(part, _)| *part == Part::Router);
    let routers: Vec<Instant> = routers.map(|(_, at)| *at).collect();
    let mut counts = BTreeMap::new();
    for (part, _) in &kills {
        *counts.entry(*part).or_default() += 1;
    }
    let tally = Tally::of(&visits, &routers);
    let longest = whole_again.iter().max().copied().unwrap_or_default();
    let lost = before.iter().filter(|(id, dyno)| after.get(*id) != Some(*dyno));
    let dynos_lost: Vec<String> = lost.map(|(_, dyno)| dyno.clone()).collect();
    let held = tally.failed() == 0 && tally.right > 0 && longest <= AIM && dynos_lost.is_empty();
    Ok(Report {
        seconds: how.seconds,
        kills: counts,
        visits: tally,
        answers: Latency::of(visits.iter().map(|visit| visit.ended - visit.began)),
        whole_again: Latency::of(whole_again.into_iter()),
        dynos_lost,
        held,
    })
}

/// Who was killed when, how long after a kill all was there again, and the dynos at the end.
type Killed = (Vec<(Part, Instant)>, Vec<Duration>, BTreeMap<String, String>);

async fn kill_in_turn(site: &Site<'_>, how: &Kill) -> Result<Killed, DrillError> {
    let (mut kills, mut whole_again) = (Vec::new(), Vec::new());
    let end = Instant::now() + Duration::from_secs(how.seconds);
    let mut broken: Option<Instant> = None;
    for parts in TURNS.iter().cycle() {
        let now = Instant::now();
        if now >= end {
            break;
        }
        for part in *parts {
            let of_part = part.kill(site.config, &site.endpoints)?;
            kills.extend(of_part.into_iter().map(|at| (*part, at)));
        }
        let since = *broken.get_or_insert(now);
        let next = Deadline::from_std(now + Duration::from_millis(how.every));
        // A part that is killed again before all is there has not come back in between.
        if let Ok(whole) = timeout_at(next, site.until_whole()).await {
            whole?;
            whole_again.push(since.elapsed());
            broken = None;
        }
        tokio::time::sleep_until(next).await;
    }
    let dynos = site.until_whole().await?;
    whole_again.extend(broken.map(|since| since.elapsed()));
    Ok((kills, whole_again, dynos))
}

/// The platform as it is seen from outside.
struct Site<'a> {
    config: &'a Config,
    endpoints: Endpoints,
    apps: Apps,
}

impl Site<'_> {
    /// Waits until every part is there and the API knows every dyno as up; gives the dynos.
    async fn until_whole(&self) -> Result<BTreeMap<String, String>, DrillError> {
        let begun = Instant::now();
        loop {
            let what = match self.missing_part()? {
                Some(part) => part.name(),
                None => match self.apps.up().await {
                    Ok(Some(dynos)) => return Ok(dynos),
                    Ok(None) => "every dyno",
                    // One that is dead at the moment does not answer, or breaks off.
                    Err(_) => "the API",
                },
            };
            if begun.elapsed() > PATIENCE {
                return Err(DrillError::Slow { what, after: PATIENCE });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn missing_part(&self) -> Result<Option<Part>, DrillError> {
        for part in Part::ALL {
            if part.processes(self.config, &self.endpoints)?.is_empty() {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }
}

fn show(report: &Report) {
    let Report { seconds, kills, visits, answers, whole_again, dynos_lost, held } = report;
    let killed = kills.iter().map(|(part, count)| format!("{} {count}", part.name()));
    let killed = killed.collect::<Vec<_>>().join(", ");
    let times = |of: &Latency| {
        format!("p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", of.p50_ms, of.p99_ms, of.max_ms)
    };
    let Tally { cut_with_their_router, cut, refused, other_status, wrong_app, .. } = visits;
    say!("-----> Killed within {seconds} s: {killed}");
    say!("visits           {:>8}  {}", answers.requests, times(answers));
    say!("in a router      {cut_with_their_router:>8}  that was killed: not answered");
    say!("failed           {:>8}  {refused} refused, {cut} not answered,", visits.failed());
    say!(
        "                           {other_status} with another status, {wrong_app} by another app"
    );
    say!("whole again      {:>8}  {}", whole_again.requests, times(whole_again));
    say!("dynos            {:>8}  {} of them another one now", apps::COUNT, dynos_lost.len());
    dynos_lost.iter().for_each(|dyno| say!("                           {dyno}"));
    say!("{}", if *held { "Every promise held" } else { "Not held" });
}
