//! `lathe bench start`: dynos of ours, the limit and the rivals that are here, turn by turn.

use super::BenchError;
use super::crun::Crun;
use super::docker::Docker;
use super::figures::{self, Memory, Row, Sample};
use super::limit::Limit;
use super::native::{Native, Shares};
use super::paper::Json;
use super::ready::Ready;
use crate::cli::say::say;
use clap::Args;
use serde::Serialize;
use std::time::Duration;

/// Thrown away: caches fill, pages are touched for the first time.
const WARM_UP: u32 = 3;

/// Between two starts.
const PAUSE: Duration = Duration::from_millis(50);

const IDLE_MAX: i64 = 200;

/// How much to measure.
#[derive(Debug, Args)]
pub(in crate::cli) struct Start {
    /// Starts of each way
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Idle containers whose memory is looked at
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=IDLE_MAX))]
    idle: u32,
    #[command(flatten)]
    json: Json,
}

/// The figures of one run, which are to be compared with each other only.
#[derive(Debug, Serialize)]
struct Report {
    /// Of the machine, over the last minute, before and after.
    load: [String; 2],
    rows: Vec<Row>,
    /// Of a dyno's processor time.
    #[serde(rename = "shares_ms")]
    shares: Option<Shares>,
    /// Rivals that are not here, and why.
    absent: Vec<(String, String)>,
}

/// One way to start a container.
enum Way {
    Limit(Limit),
    Native(Box<Native>),
    Crun(Crun),
    Docker(Docker),
}

impl Way {
    fn name(&self) -> String {
        match self {
            Self::Limit(limit) => limit.name().into(),
            Self::Native(_) => "lathe dyno".into(),
            Self::Crun(_) => "crun run".into(),
            Self::Docker(docker) => format!("docker run ({})", docker.version),
        }
    }

    async fn start(&mut self) -> Result<Sample, BenchError> {
        match self {
            Self::Limit(limit) => limit.start(),
            Self::Native(native) => native.start().await,
            Self::Crun(crun) => crun.start(),
            Self::Docker(docker) => docker.start().await,
        }
    }

    /// Only what leaves something running beside the program has anything to show.
    async fn idle(&self, count: u32) -> Result<Option<Memory>, BenchError> {
        Ok(match self {
            Self::Native(native) => Some(native.idle(count).await?),
            Self::Docker(docker) => Some(docker.idle(count).await?),
            Self::Limit(_) | Self::Crun(_) => None,
        })
    }

    async fn close(self) -> Result<(), BenchError> {
        match self {
            Self::Limit(limit) => limit.close(),
            Self::Native(native) => native.close().await,
            Self::Crun(_) => Ok(()),
            Self::Docker(docker) => docker.close().await,
        }
    }
}

pub(super) async fn start(how: &Start) -> Result<(), BenchError> {
    let room = tempfile::Builder::new().prefix("lathe-bench-").tempdir();
    let room = room.map_err(BenchError::at("make a directory"))?;
    let ready = Ready::new(room.path())?;
    let before = figures::load();
    let (mut ways, absent) = open(&ready).await?;
    let measured = measure(&mut ways, how).await;
    let shares = ways.iter().find_map(|way| match way {
        Way::Native(native) => Some(native.shares()),
        _ => None,
    });
    for way in ways.into_iter().rev() {
        way.close().await?;
    }
    let report = Report { load: [before, figures::load()], rows: measured?, shares, absent };
    show(&report, how);
    how.json.write(&report)
}

/// The ways there are on this machine, the limit first, and those there are not.
async fn open(ready: &Ready) -> Result<(Vec<Way>, Vec<(String, String)>), BenchError> {
    let mut ways = vec![
        Way::Limit(Limit::open(ready, false)?),
        Way::Limit(Limit::open(ready, true)?),
        Way::Native(Box::new(Native::open(ready).await?)),
    ];
    let mut absent = Vec::new();
    match Crun::open(ready)? {
        Ok(crun) => ways.push(Way::Crun(crun)),
        Err(reason) => absent.push(("crun run".into(), reason)),
    }
    match Docker::open().await? {
        Ok(docker) => ways.push(Way::Docker(docker)),
        Err(reason) => absent.push(("docker run".into(), reason)),
    }
    Ok((ways, absent))
}

/// Turn by turn, so that whatever else the machine does falls on all alike.
async fn measure(ways: &mut [Way], how: &Start) -> Result<Vec<Row>, BenchError> {
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); ways.len()];
    for turn in 0..WARM_UP + how.count {
        // Each comes after each other one in turn, and after a pause: what the kernel has still to
        // clear away of the last container would be counted to this one.
        let first = turn as usize % ways.len();
        for index in (first..ways.len()).chain(0..first) {
            tokio::time::sleep(PAUSE).await;
            let sample = ways[index].start().await?;
            if turn >= WARM_UP {
                samples[index].push(sample);
            }
        }
    }
    let mut rows = Vec::new();
    for (way, samples) in ways.iter().zip(&samples) {
        rows.push(Row::new(way.name(), samples, way.idle(how.idle).await?));
    }
    let limit = rows.first().map_or(f64::NAN, |row| row.median_ms);
    for row in &mut rows {
        row.times_limit = row.median_ms / limit;
    }
    Ok(rows)
}

fn show(report: &Report, how: &Start) {
    let [before, after] = &report.load;
    say!("-----> Request to first instruction, {} starts each, turn by turn", how.count);
    say!("       load {before} before, {after} after; memory of {} idle ones", how.idle);
    figures::print(&report.rows);
    if let Some(Shares { engine, spawner, dyno }) = &report.shares {
        say!("A dyno's CPU ms: engine {engine:.2}, spawner {spawner:.2}, dyno {dyno:.2}");
    }
    for (name, reason) in &report.absent {
        say!("absent: {name}: {reason}");
    }
    say!("The limit is a container by clone3, overlayfs and a control group, and nothing else.");
    say!("A dyno has a network and a user of its own, a filter of system calls, a first process");
    say!("and a record on disk; the limit has none of these.");
}
