//! The control loop: reads the state and what the cell observes, and says what shall be.
//!
//! All choices are in [`plan`]; here they are carried out: routes first, then dynos, then the
//! steps of releases. Nothing is remembered that a restart could not do without.

mod cycle;
mod explain;
pub mod last_good;
mod phase;
pub mod pipeline;
pub mod plan;
mod plans;
mod replace;
pub mod room;
pub mod routed;
mod routing;
pub mod running;
mod said;
#[cfg(test)]
mod simulation;
mod sleep;
pub mod slots;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod verdict;
pub mod wanted;

use crate::services::Services;
use crate::state::model::{Phase, Release, ReleaseStatus};
use crate::state::restarts::{self, Restart};
use crate::state::{StateError, Tx, releases};
use crate::steps;
use lathe_dynos::spec::Desired;
use lathe_logs::Source;
use lathe_logs::clock::steady_ms;
use lathe_router::{Demand, Routes};
use pipeline::Told;
use plan::{Facts, Plan, Turn};
use plans::Plans;
use replace::Replaced;
use slots::Place;
use snapshot::Snapshot;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use verdict::Failure;

/// While dynos drain, somebody has to look at the clock.
const DRAIN_TICK: Duration = Duration::from_millis(250);
/// After a step the loop rests for so many times what the step took, and at most this long: of
/// thousands of changes at once those that came meanwhile are one step.
const REST_TIMES: u32 = 2;
const REST_MAX: Duration = Duration::from_millis(250);
/// Otherwise changes wake the loop; this only bounds what a lost wake-up could cost.
const IDLE_TICK: Duration = Duration::from_secs(10);

/// Where the decisions go, and what the loop cannot see by itself.
pub struct Wires {
    pub desired: watch::Sender<Arc<Desired>>,
    pub routes: watch::Sender<Arc<Routes>>,
    /// Identities of the dynos that have requests in flight.
    pub busy: Box<dyn Fn() -> BTreeSet<String> + Send + Sync>,
    /// Who is asked for, and a bell for those that sleep.
    pub demand: Demand,
    /// Where is said which apps sleep.
    pub asleep: watch::Sender<Arc<BTreeSet<String>>>,
    /// Everything sent is numbered above this.
    pub generation_floor: u64,
}

impl fmt::Debug for Wires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wires").finish_non_exhaustive()
    }
}

/// Runs until `shutdown`. Dynos and routes stay as they are afterwards.
pub async fn run(services: Services, wires: Wires, shutdown: impl Future<Output = ()>) {
    let mut changes = services.store.changes_of_apps();
    let mut observed = services.observed.clone();
    let generation = wires.generation_floor;
    let previous = wires.desired.borrow().clone();
    let mut control = Control {
        unread: services.store.changes_of_apps(),
        services,
        wires,
        snapshot: None,
        plans: Plans::default(),
        generation,
        previous,
        draining: BTreeMap::new(),
        phases: JoinSet::new(),
        phasing: HashSet::new(),
        observed_once: false,
        listening_since_ms: steady_ms(),
        told: Told::default(),
        replaced: Replaced::default(),
        wake_ms: None,
    };
    let demand = control.wires.demand.clone();
    tokio::pin!(shutdown);
    loop {
        let began = Instant::now();
        if let Err(error) = control.step().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the control loop cannot read the state"
            );
        }
        steps::turned("control loop", began.elapsed());
        let rest = (began.elapsed() * REST_TIMES).min(REST_MAX);
        tokio::select! {
            () = &mut shutdown => break,
            () = tokio::time::sleep(rest) => {}
        }
        let tick = control.tick();
        tokio::select! {
            () = &mut shutdown => break,
            _ = changes.changed() => {}
            _ = observed.changed() => control.observed_once = true,
            Some(ended) = control.phases.join_next() => control.phase_ended(ended),
            () = demand.rung() => {}
            () = tokio::time::sleep(tick) => {}
        }
    }
}

struct Control {
    services: Services,
    wires: Wires,
    /// What was read last, and when; none when it is to be read again in any case.
    snapshot: Option<(Snapshot, Instant)>,
    /// Changes that are not in it yet.
    unread: watch::Receiver<u64>,
    plans: Plans,
    generation: u64,
    previous: Arc<Desired>,
    draining: BTreeMap<lathe_dynos::spec::Slot, u64>,
    /// Release phases that run now, and of which releases.
    phases: JoinSet<(String, u32)>,
    phasing: HashSet<(String, u32)>,
    /// Until the cell has spoken, the router's last table is better than one without dynos.
    observed_once: bool,
    listening_since_ms: u64,
    told: Told,
    /// Because of their checks.
    replaced: Replaced,
    /// When to look again though nothing has changed.
    wake_ms: Option<u64>,
}

impl Control {
    /// How long to wait for a change at most.
    fn tick(&self) -> Duration {
        let idle = if self.draining.is_empty() { IDLE_TICK } else { DRAIN_TICK };
        let wake = self.wake_ms.map(|due_ms| due_ms.saturating_sub(steady_ms()));
        wake.map_or(idle, |ms| idle.min(Duration::from_millis(ms.max(1))))
    }

    async fn step(&mut self) -> Result<(), StateError> {
        let (snapshot, read) = self.read().await?;
        let plan = self.decide(&snapshot);
        self.draining.clone_from(&plan.draining);
        self.wake_ms = plan.wake_ms;
        self.tell(&snapshot, &plan);
        let turns = plan.turns.clone();
        self.publish(plan);
        self.snapshot = Some((snapshot, read));
        for turn in turns {
            self.turn(turn).await?;
        }
        Ok(())
    }

    /// What is known of all apps: as it was read before when nobody has written since.
    async fn read(&mut self) -> Result<(Snapshot, Instant), StateError> {
        let before = self.snapshot.take();
        let news = self.unread.has_changed().unwrap_or(true);
        match before {
            Some((before, read)) if !news && read.elapsed() < IDLE_TICK => Ok((before, read)),
            before => {
                self.unread.mark_unchanged();
                let before = before.map(|(before, _)| before).unwrap_or_default();
                let now = Instant::now();
                let read = self.services.store.read(move |tx| Snapshot::read(tx, &before));
                Ok((read.await?, now))
            }
        }
    }

    fn decide(&mut self, snapshot: &Snapshot) -> Plan {
        let observed = self.services.observed.borrow().clone();
        let facts = Facts {
            snapshot,
            observed: &observed,
            previous: &self.previous,
            draining: &self.draining,
            busy: &(self.wires.busy)(),
            apps_domain: &self.services.config.apps_domain,
            patience: self.services.config.dynos,
            classes: &self.services.config.classes,
            replaced: &self.replaced,
            asked_ms: &self.wires.demand.last_ms(),
            listening_since_ms: self.listening_since_ms,
            now_ms: steady_ms(),
        };
        self.plans.decide(&facts, &|stack| self.services.stack_root(stack))
    }

    /// Says in the apps' logs who falls asleep, who wakes, and how far releases have come.
    fn tell(&mut self, snapshot: &Snapshot, plan: &Plan) {
        let before = self.wires.asleep.borrow().clone();
        for state in &snapshot.apps {
            let id = &state.app.id;
            let word = match (before.contains(id), plan.asleep.contains(id)) {
                (false, true) => "Idling",
                (true, false) => "Unidling",
                _ => continue,
            };
            let places = state.current.iter().flat_map(|release| wanted::places(state, release));
            for place in places.filter(Place::is_web) {
                self.services.say(id, Source::Heroku, &place.dyno_name(), word);
            }
        }
        if *before != plan.asleep {
            self.wires.asleep.send_replace(Arc::new(plan.asleep.clone()));
        }
        for state in &snapshot.apps {
            for text in self.told.news(state) {
                self.services.say(&state.app.id, Source::App, "api", &text);
            }
        }
        self.told.begin();
    }

    /// Sends what has changed. Routes go first: a dyno loses its route before it loses its life.
    fn publish(&mut self, mut plan: Plan) {
        let dynos = std::mem::take(&mut plan.dynos);
        self.generation += 1;
        let routes = plan.into_routes(self.generation);
        if self.observed_once {
            self.wires.routes.send_if_modified(|last| {
                let changed = last.hosts != routes.hosts || last.apps != routes.apps;
                if changed {
                    steps::passed("routes switched");
                    *last = Arc::new(routes);
                }
                changed
            });
        }
        if self.previous.dynos != dynos || self.previous.generation == 0 {
            self.previous = Arc::new(Desired { generation: self.generation, dynos });
            self.wires.desired.send_replace(self.previous.clone());
            steps::passed("dynos wanted");
        }
    }

    async fn turn(&mut self, turn: Turn) -> Result<(), StateError> {
        match turn {
            Turn::RunReleasePhase { app, version } => {
                if self.phasing.insert((app.clone(), version)) {
                    self.phases.spawn(phase::run(self.services.clone(), app, version));
                }
                Ok(())
            }
            Turn::BeginProbation { app, version, text } => {
                let begin = move |tx: &Tx<'_>| releases::begin_probation(tx, &app, version, &text);
                self.services.store.write(begin).await
            }
            Turn::Promote { app, version } => {
                self.services.store.write(move |tx| releases::promote(tx, &app, version)).await
            }
            Turn::Fail { app, version, dyno, why } => self.fail(app, version, &dyno, &why).await,
            Turn::Cycle { place } => self.restart(place, "Cycling").await,
            Turn::Replace { place, times } => {
                self.replaced.note(place.identity(), times, steady_ms());
                let text = "Starting another dyno in its place, because its health check fails";
                self.restart(place, text).await
            }
        }
    }

    async fn restart(&self, place: Place, why: &str) -> Result<(), StateError> {
        let dyno = place.dyno_name();
        self.services.say(&place.app, Source::Heroku, &dyno, why);
        let restart = move |tx: &Tx<'_>| {
            restarts::restart(tx, &place.app, Restart::OfRelease(place.release, &dyno))
        };
        self.services.store.write(restart).await
    }

    async fn fail(
        &self,
        app: String,
        version: u32,
        dyno: &str,
        why: &Failure,
    ) -> Result<(), StateError> {
        let port = self.previous.dynos.iter().find_map(|(slot, wanted)| {
            let place = Place::parse(slot)?;
            let it = place.app == app && place.release == version && place.dyno_name() == dyno;
            it.then_some(wanted.spec.port)?
        });
        let patience = self.services.config.dynos;
        let reason = explain::boot_failure(dyno, why, port, patience);
        let first = reason.lines().next().unwrap_or_default().to_owned();
        self.services.say(&app, Source::App, "api", &format!("Release v{version} failed: {first}"));
        self.services.store.write(move |tx| releases::fail(tx, &app, version, &reason)).await
    }

    fn phase_ended(&mut self, ended: Result<(String, u32), tokio::task::JoinError>) {
        match ended {
            Ok(key) => drop(self.phasing.remove(&key)),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a release phase panicked"
                );
            }
        }
    }
}

/// Brings `earliest` forward to `due_ms` if that comes before.
fn wake(earliest: &mut Option<u64>, due_ms: u64) {
    *earliest = Some(earliest.map_or(due_ms, |other| other.min(due_ms)));
}

/// Waits until a release serves, has failed, or has been overtaken, and gives it back; or the one that
/// has overtaken it with the same slug, as a config var does.
pub async fn settled(services: &Services, app: &str, version: u32) -> Result<Release, StateError> {
    let ends = |release: &Release| release.status != ReleaseStatus::Pending;
    let mut release = reached(services, app, version, ends).await?;
    while release.status == ReleaseStatus::Expired {
        let (id, next) = (app.to_owned(), release.version + 1);
        let next = services.store.read(move |tx| releases::by_version(tx, &id, next)).await?;
        let slug = |release: &Release| release.slug.as_ref().map(|slug| slug.id.clone());
        if slug(&next) != slug(&release) {
            break;
        }
        release = reached(services, app, next.version, ends).await?;
    }
    Ok(release)
}

/// Waits until what comes before a release boots is over, and gives it back.
pub async fn boots(services: &Services, app: &str, version: u32) -> Result<Release, StateError> {
    reached(services, app, version, |release| release.phase != Phase::Releasing).await
}

async fn reached(
    services: &Services,
    app: &str,
    version: u32,
    there: impl Fn(&Release) -> bool,
) -> Result<Release, StateError> {
    let mut changes = services.store.changes();
    loop {
        let id = app.to_owned();
        let release = services.store.read(move |tx| releases::by_version(tx, &id, version)).await?;
        if there(&release) {
            return Ok(release);
        }
        if changes.changed().await.is_err() {
            return Err(StateError::Closed);
        }
    }
}
