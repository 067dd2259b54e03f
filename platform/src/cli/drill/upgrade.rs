//! `lathe drill upgrade`: the platform becomes a release of itself, and then of another version of
//! itself, by a push that is compiled, rehearsed and tried while visitors come. None of them is to
//! notice, and no dyno is to be another one.

use super::site::{self, Site, Terms};
use super::visitors::{Tally, Visit, Visitors};
use super::{DrillError, apps};
use crate::cli::CliError;
use crate::cli::bench::Latency;
use crate::cli::say::say;
use crate::config::{Config, Flags};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub(in crate::cli) struct Upgrade {
    /// Lathe's own source: a folder or a git URL
    #[arg(long, value_name = "DIR|URL", default_value = ".")]
    source: String,
    /// The version that the platform is at first
    #[arg(long, value_name = "REF", default_value = "HEAD~1")]
    from: String,
    /// The version that it becomes under load
    #[arg(long, value_name = "REF", default_value = "HEAD")]
    to: String,
    #[command(flatten)]
    terms: Terms,
}

#[derive(Debug, Serialize)]
struct Report {
    /// From the push until the new version was good.
    took_s: f64,
    /// The platform's own processes before and after, each with its release.
    parts_before: BTreeMap<String, u64>,
    parts_after: BTreeMap<String, u64>,
    visits: Tally,
    answers: Latency,
    /// Dynos that are not there any more as they were.
    dynos_lost: Vec<String>,
    held: bool,
}

pub(super) fn upgrade(config: Config, flags: &Flags, how: &Upgrade) -> Result<ExitCode, CliError> {
    let report = site::on_site(config, flags, &how.terms, async |site| drill(site, how).await)?;
    Ok(how.terms.tell(&report, report.held, show))
}

async fn drill(site: &Site<'_>, how: &Upgrade) -> Result<Report, DrillError> {
    hand_over(site, &how.source, &how.from).await?;
    let before = site.until_whole().await?;
    let parts_before = site.apps.parts().await?;
    let visitors = Visitors::send(how.terms.visitors.into(), site);
    let begun = Instant::now();
    let handed_over = hand_over(site, &how.source, &how.to).await;
    let took = begun.elapsed();
    let visits = visitors.call_back().await?;
    handed_over?;
    let parts_after = site.apps.parts().await?;
    let dynos_lost = site::lost(&before, &site.until_whole().await?);
    let visits_tally = Tally::of(&visits, &[]);
    let held =
        visits_tally.all_well() && dynos_lost.is_empty() && all_newer(&parts_before, &parts_after);
    Ok(Report {
        took_s: took.as_secs_f64(),
        parts_before,
        parts_after,
        visits: visits_tally,
        answers: Latency::of(visits.iter().map(Visit::took)),
        dynos_lost,
        held,
    })
}

/// What `lathe bootstrap` does with a platform that runs already; it says on stderr where it is.
async fn hand_over(site: &Site<'_>, source: &str, version: &str) -> Result<(), DrillError> {
    let said =
        io::stderr().as_fd().try_clone_to_owned().map_err(DrillError::at("say something"))?;
    let mut bootstrap = site.service.verb().map_err(DrillError::at("find this program"))?;
    bootstrap.args(["bootstrap", "--no-install", "--source", &format!("{source}#{version}")]);
    let status = bootstrap.stdout(said).status().await;
    let status = status.map_err(DrillError::at("run `lathe bootstrap`"))?;
    if status.success() {
        Ok(())
    } else {
        Err(DrillError::NotHandedOver { version: version.to_owned(), status })
    }
}

/// Each process of the platform is of a later release; a router that still finishes what it had may be
/// there beside.
fn all_newer(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> bool {
    let newer = |(part, release): (&String, &u64)| after.get(part).is_some_and(|now| now > release);
    !before.is_empty() && before.iter().filter(|(part, _)| part.ends_with(".1")).all(newer)
}

fn show(report: &Report) {
    let Report { took_s, parts_before, parts_after, visits, answers, dynos_lost, .. } = report;
    let took = Duration::from_secs_f64(*took_s).as_secs();
    say!("-----> Upgraded within {} min {} s", took / 60, took % 60);
    for (part, release) in parts_after {
        let before = parts_before.get(part).map_or("none".into(), |before| format!("v{before}"));
        say!("{part:<16} {before:>8}  v{release} now");
    }
    visits.show(answers);
    apps::show_lost(dynos_lost);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_to_be_of_a_later_release() {
        let parts = |parts: &[(&str, u64)]| -> BTreeMap<String, u64> {
            parts.iter().map(|(part, release)| ((*part).to_owned(), *release)).collect()
        };
        let before = parts(&[("keeper.1", 2), ("platform.1", 2), ("router.1", 2), ("router.2", 1)]);
        for (after, newer) in [
            (parts(&[("keeper.1", 3), ("platform.1", 3), ("router.1", 3)]), true),
            (parts(&[("keeper.1", 3), ("platform.1", 3), ("router.1", 3), ("router.2", 2)]), true),
            (parts(&[("keeper.1", 2), ("platform.1", 3), ("router.1", 3)]), false),
            (parts(&[("keeper.1", 3), ("platform.1", 3)]), false),
            (before.clone(), false),
        ] {
            assert_eq!(all_newer(&before, &after), newer, "{after:?}");
        }
        assert!(!all_newer(&parts(&[]), &before));
    }
}
