//! Where a drill takes place: a self-hosted platform in a directory and on ports of its own, with two
//! apps. It is gone afterwards, however the drill ends.

use super::DrillError;
use super::apps::Apps;
use super::parts::Part;
use super::service::Service;
use crate::cli::env::Access;
use crate::cli::say::say;
use crate::cli::up::{self, Signals};
use crate::cli::{CliError, runtime};
use crate::config::{Config, Flags};
use crate::endpoints::Endpoints;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// For what does not come back at all.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What every drill is told.
#[derive(Debug, Args)]
pub(super) struct Terms {
    /// Visitors at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(super) visitors: u16,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Where what the platform says goes [default: nowhere]
    #[arg(long, value_name = "FILE")]
    keep_log: Option<PathBuf>,
}

impl Terms {
    /// Says what came of a drill, and how to exit.
    pub(super) fn tell<R: Serialize>(&self, report: &R, held: bool, show: fn(&R)) -> ExitCode {
        if self.json {
            say!("{}", serde_json::json!(report));
        } else {
            show(report);
            say!("{}", if held { "Every promise held" } else { "Not held" });
        }
        if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The platform as it is seen from outside.
pub(super) struct Site<'a> {
    pub(super) config: &'a Config,
    pub(super) service: &'a Service,
    pub(super) endpoints: Endpoints,
    pub(super) apps: Apps,
}

/// Makes a site, does this there, and ends everything.
pub(super) fn on_site<R>(
    mut config: Config,
    flags: &Flags,
    terms: &Terms,
    drill: impl AsyncFnOnce(&Site<'_>) -> Result<R, DrillError>,
) -> Result<R, CliError> {
    up::prepare_host(false)?;
    let room = tempfile::Builder::new().prefix("lathe-drill-").tempdir();
    let room = room.map_err(DrillError::at("make a directory"))?;
    config.data = room.path().join("data");
    let log = terms.keep_log.as_deref().unwrap_or(Path::new("/dev/null"));
    let log = File::create(log).map_err(DrillError::at("write the log"))?;
    runtime()?.block_on(async {
        let mut signals = Signals::watch()?;
        let service = Service::start(flags, &config.data, log);
        let drilled = tokio::select! {
            drilled = async {
                let site = Site::settle(&config, &service, room.path()).await?;
                Ok::<R, CliError>(drill(&site).await?)
            } => drilled,
            _ = signals.next() => Err(DrillError::Stopped.into()),
        };
        service.stop(&config).await?;
        drilled
    })
}

impl<'a> Site<'a> {
    async fn settle(
        config: &'a Config,
        service: &'a Service,
        room: &Path,
    ) -> Result<Self, CliError> {
        let endpoints = service.endpoints(config).await?;
        let apps = Apps::make(&Access::of(config)?, room).await?;
        Ok(Self { config, service, endpoints, apps })
    }

    /// Waits until every part is there and the API knows every dyno as up; gives the dynos.
    pub(super) async fn until_whole(&self) -> Result<BTreeMap<String, String>, DrillError> {
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
            tokio::time::sleep(LOOK_EVERY).await;
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

/// Those of the dynos before that are not there any more: another one is in their place.
pub(super) fn lost(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let lost = before.iter().filter(|(id, _)| !after.contains_key(*id));
    lost.map(|(_, dyno)| dyno.clone()).collect()
}
