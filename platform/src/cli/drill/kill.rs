//! `lathe drill kill`: the parts of a platform are killed in turn, every other second, for as long as
//! one likes, while visitors come to two apps. None of them is to notice.

use super::parts::{self, Part};
use super::site::{self, Site, Terms};
use super::visitors::{Tally, Visit, Visitors};
use super::{DrillError, apps, visitors};
use crate::cli::CliError;
use crate::cli::bench::Latency;
use crate::cli::say::say;
use crate::config::{Config, Flags};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

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

#[derive(Debug, Args)]
pub(in crate::cli) struct Kill {
    /// Seconds during which something is killed, and until each has had its turn as often
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Milliseconds from one to the next, or until all is there again
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2000)]
    every: u64,
    #[command(flatten)]
    terms: Terms,
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
    let report = site::on_site(config, flags, &how.terms, async |site| drill(site, how).await)?;
    Ok(how.terms.tell(&report, report.held, show))
}

async fn drill(site: &Site<'_>, how: &Kill) -> Result<Report, DrillError> {
    let before = site.until_whole().await?;
    let visitors = Visitors::send(how.terms.visitors.into(), site);
    let begun = Instant::now();
    let killed = kill_in_turn(site, how).await;
    let seconds = begun.elapsed().as_secs();
    let visits = visitors.call_back().await?;
    let (kills, whole_again, after) = killed?;
    let routers = kills.iter().filter(|(part, _)| *part == Part::Router);
    let routers: Vec<Instant> = routers.map(|(_, at)| *at).collect();
    let mut counts = BTreeMap::new();
    for (part, _) in &kills {
        *counts.entry(*part).or_default() += 1;
    }
    let tally = Tally::of(&visits, &routers);
    let longest = whole_again.iter().max().copied().unwrap_or_default();
    let dynos_lost = site::lost(&before, &after);
    let held = tally.all_well() && longest <= AIM && dynos_lost.is_empty();
    Ok(Report {
        seconds,
        kills: counts,
        visits: tally,
        answers: Latency::of(visits.iter().map(Visit::took)),
        whole_again: Latency::of(whole_again.into_iter()),
        dynos_lost,
        held,
    })
}

/// Who was killed when, how long after a kill all was there again, and the dynos at the end.
type Killed = (Vec<(Part, Instant)>, Vec<Duration>, BTreeMap<String, String>);

/// Round after round until the time is over; the last one is finished. Nothing is killed before all is
/// there again: what is left without anybody who could hold a socket is another fault, a power cut.
async fn kill_in_turn(site: &Site<'_>, how: &Kill) -> Result<Killed, DrillError> {
    let (mut kills, mut whole_again) = (Vec::new(), Vec::new());
    let mut dynos = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(how.seconds);
    while Instant::now() < end {
        for parts in TURNS {
            let begun = Instant::now();
            kills.extend(parts::kill(parts, site.config, &site.endpoints).await?);
            dynos = site.until_whole().await?;
            whole_again.push(begun.elapsed());
            sleep_until((begun + Duration::from_millis(how.every)).into()).await;
        }
    }
    Ok((kills, whole_again, dynos))
}

fn show(report: &Report) {
    let Report { seconds, kills, visits, answers, whole_again, dynos_lost, .. } = report;
    let killed = kills.iter().map(|(part, count)| format!("{} {count}", part.name()));
    let killed = killed.collect::<Vec<_>>().join(", ");
    say!("-----> Killed within {seconds} s: {killed}");
    visits.show(answers);
    say!("in a router      {:>8}  that was killed: not answered", visits.cut_with_their_router);
    say!("whole again      {:>8}  {}", whole_again.requests, visitors::times(whole_again));
    apps::show_lost(dynos_lost);
}
