//! Releases of the system app, followed to their ends: rehearsed, wished for, promoted or failed.

use super::rehearsal::Stage;
use super::turn::{Facts, Rehearsal, Turn, turn};
use super::{Version, program, seat};
use crate::causes::causes;
use crate::services::Services;
use crate::state::model::{App, Phase, Release, ReleaseStatus};
use crate::state::secrets::Secrets;
use crate::state::{StateError, Tx, apps, releases, system};
use lathe_logs::Source;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// While a release is to serve next; the keeper's word is a file.
const TICK: Duration = Duration::from_millis(200);
/// Otherwise changes of the state wake the loop.
const IDLE_TICK: Duration = Duration::from_secs(10);

/// Runs until `shutdown`. `own` is this program.
pub async fn run(services: Services, own: PathBuf, shutdown: impl Future<Output = ()>) {
    let stage = Stage::new(services.config.clone(), own);
    let mut changes = services.store.changes();
    let mut upgrade = Upgrade {
        services,
        stage,
        rehearsal: Rehearsal::None,
        rehearsing: JoinSet::new(),
        phase: None,
        attending: None,
    };
    tokio::pin!(shutdown);
    loop {
        let tick = match upgrade.step().await {
            Ok(true) => TICK,
            Ok(false) => IDLE_TICK,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the next version cannot be followed");
                IDLE_TICK
            }
        };
        tokio::select! {
            () = &mut shutdown => break,
            more = changes.changed() => if more.is_err() { break },
            Some(ended) = upgrade.rehearsing.join_next() => {
                // One that panicked has said so, and is done again.
                upgrade.rehearsal = ended.unwrap_or_default();
            }
            () = tokio::time::sleep(tick) => {}
        }
    }
    upgrade.close().await;
}

struct Upgrade {
    services: Services,
    stage: Stage,
    rehearsal: Rehearsal,
    rehearsing: JoinSet<Rehearsal>,
    /// Since when a release was seen in its phase.
    phase: Option<(String, Phase, Instant)>,
    /// The release of which it was said that it waits.
    attending: Option<String>,
}

/// The system app's next release.
struct Next {
    app: App,
    release: Release,
    quiet: bool,
}

impl Next {
    fn read(tx: &Tx<'_>) -> Result<Option<Self>, StateError> {
        let Some(app) = apps::system(tx)? else { return Ok(None) };
        let Some(version) = app.candidate else { return Ok(None) };
        let release = releases::by_version(tx, &app.id, version)?;
        if release.status != ReleaseStatus::Pending {
            return Ok(None);
        }
        Ok(Some(Self { app, release, quiet: system::is_quiet(tx)? }))
    }
}

impl Upgrade {
    /// Whether there is something under way.
    async fn step(&mut self) -> Result<bool, StateError> {
        let next = self.services.store.read(Next::read).await?;
        let Some(Next { app, release, quiet }) = next else { return Ok(false) };
        let for_ms = self.phase_ms(&release);
        let data = &self.services.config.data;
        let file = |source| StateError::Key { path: super::dir(data), source };
        let seat = seat::read(data).map_err(file)?;
        let wished = seat::wished(data).map_err(file)?;
        let facts = Facts {
            release: &release.id,
            phase: release.phase,
            for_ms,
            kept: self.services.config.kept.is_some(),
            quiet,
            patience_ms: millis(self.services.config.upgrade.patience),
            seat: &seat,
            wished: wished.as_ref(),
            rehearsal: &self.rehearsal,
        };
        match turn(facts) {
            Turn::Wait => {}
            Turn::Attend => self.attend(&app, release),
            Turn::Rehearse => self.rehearse(release),
            Turn::Pass => {
                let store = &self.services.store;
                store.write(move |tx| releases::start_booting(tx, &release.id)).await?;
            }
            Turn::Wish => {
                self.say(&app, &format!("Release v{} is put on trial", release.version));
                if let Some(version) = Version::of(&release, &Secrets::of(data)?)? {
                    seat::wish(data, &version).map_err(file)?;
                }
            }
            Turn::Promote => {
                let (id, version) = (app.id.clone(), release.version);
                let store = &self.services.store;
                store.write(move |tx| releases::promote(tx, &id, version)).await?;
                self.say(&app, &format!("Release v{version} is the platform now"));
            }
            Turn::Fail(why) => {
                let (id, version) = (app.id.clone(), release.version);
                let first = why.lines().next().unwrap_or_default();
                self.say(&app, &format!("Release v{version} failed: {first}"));
                let failed = Version::of(&release, &Secrets::of(data)?)?;
                let store = &self.services.store;
                store.write(move |tx| releases::fail(tx, &id, version, &why)).await?;
                // Nobody starts it any more, unless the good one is of the same slug.
                if let Some(failed) = failed
                    && seat.good.is_none_or(|good| good.slug != failed.slug)
                {
                    program::clear(data, &failed).map_err(file)?;
                }
            }
        }
        Ok(true)
    }

    /// For how long we have seen it in its phase: no clock that is set changes that.
    fn phase_ms(&mut self, release: &Release) -> u64 {
        let is_it = |(id, phase, _): &(String, Phase, Instant)| {
            *id == release.id && *phase == release.phase
        };
        let seen = self.phase.take().filter(is_it);
        let (.., since) =
            self.phase.insert(seen.unwrap_or((release.id.clone(), release.phase, Instant::now())));
        millis(since.elapsed())
    }

    /// Said once: whoever wonders why nothing happens finds it in the log.
    fn attend(&mut self, app: &App, release: Release) {
        if self.attending.as_ref() == Some(&release.id) {
            return;
        }
        let version = release.version;
        let seconds = self.services.config.upgrade.patience.as_secs();
        self.say(
            app,
            &format!(
                "Release v{version} waits until builds, releases and attached one-offs have \
                 ended, {seconds} s at most"
            ),
        );
        self.attending = Some(release.id);
    }

    fn say(&self, app: &App, text: &str) {
        self.services.say(&app.id, Source::App, "api", text);
    }

    fn rehearse(&mut self, release: Release) {
        self.rehearsal = Rehearsal::Running(release.id.clone());
        let (services, stage) = (self.services.clone(), self.stage.clone());
        self.rehearsing.spawn(async move {
            let outcome = prepare(&services, &stage, &release).await;
            Rehearsal::Ended { release: release.id, outcome }
        });
    }

    /// What a rehearsal has started ends with it.
    async fn close(mut self) {
        self.rehearsing.shutdown().await;
        if let Err(error) = self.stage.clear().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "an interrupted rehearsal has left something");
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Lays the version of a release out and rehearses it; or says why it cannot be one, for people.
async fn prepare(services: &Services, stage: &Stage, release: &Release) -> Result<(), String> {
    let data = services.config.data.clone();
    let secrets = Secrets::of(&data).map_err(|error| causes(&error))?;
    let version = Version::of(release, &secrets).map_err(|error| causes(&error))?;
    let version = version.ok_or("It has no slug")?;
    let (slugs, limits, laid) =
        (Arc::clone(&services.slugs), services.config.archives, version.clone());
    let program =
        tokio::task::spawn_blocking(move || program::lay_out(&data, &laid, &slugs, &limits));
    let program = program.await.map_err(|error| causes(&error))?;
    let program =
        program.map_err(|error| format!("Its program cannot be laid out: {}", causes(&error)))?;
    if !services.config.upgrade.rehearsal.is_zero() {
        let rehearsed = stage.rehearse(&version, &program, &secrets).await;
        rehearsed.map_err(|error| format!("It failed its rehearsal: {}", causes(&error)))?;
    }
    Ok(())
}
