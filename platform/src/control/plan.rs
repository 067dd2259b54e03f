//! The one decision of the control loop: what shall run, where requests go, which releases turn.
//!
//! Pure and level-triggered: state and observation in, everything out, the same each time.

use super::replace::{self, Replaced};
use super::routing::{self, is_up, may_serve};
use super::sleep::{self, Sleep};
use super::slots::Place;
use super::snapshot::{AppState, Snapshot};
use super::verdict::{Failure, Probation, Verdict, verdict};
use super::wanted::{self, StackRoot};
use super::{cycle, wake};
use crate::config::Patience;
use crate::state::care::Care;
use crate::state::model::{Phase, Release, Stage};
use imbl::OrdMap;
use lathe_dynos::class::Classes;
use lathe_dynos::spec::{Desired, Observed, ObservedDyno, Slot, Wanted};
use lathe_logs::AppId;
use lathe_router::{AppRoute, Routes};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A dyno that lost its route may finish its requests for this long at most.
const DRAIN_MS_MAX: u64 = 30_000;
/// And is left alone for this long, so that no router still sends to it.
const UNROUTE_MS: u64 = 1_000;

/// What the plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub snapshot: &'a Snapshot,
    pub observed: &'a Observed,
    /// What was desired last; the dynos that are draining keep their specs from here.
    pub previous: &'a Desired,
    /// Since when a dyno has been without a route, Unix milliseconds.
    pub draining: &'a BTreeMap<Slot, u64>,
    /// Dynos (by identity) that the router still has requests at.
    pub busy: &'a BTreeSet<String>,
    pub apps_domain: &'a str,
    pub patience: Patience,
    pub classes: &'a Classes,
    pub replaced: &'a Replaced,
    /// By app, when it was last asked for, Unix milliseconds; and since when anybody has listened.
    pub asked_ms: &'a HashMap<AppId, u64>,
    pub listening_since_ms: u64,
    pub now_ms: u64,
}

/// Of one app, or of all.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    pub dynos: OrdMap<Slot, Arc<Wanted>>,
    pub draining: BTreeMap<Slot, u64>,
    pub hosts: HashMap<String, AppId>,
    pub routes: BTreeMap<AppId, Arc<AppRoute>>,
    pub turns: Vec<Turn>,
    /// Apps that sleep, by id.
    pub asleep: BTreeSet<String>,
    /// When the same facts give another plan.
    pub wake_ms: Option<u64>,
}

/// A step of a release that has to be written down.
#[derive(Clone, PartialEq, Debug)]
pub enum Turn {
    /// Its `release` process has to run before anything boots.
    RunReleasePhase { app: String, version: u32 },
    /// It booted: it serves a share of the requests, as `text` says.
    BeginProbation { app: String, version: u32, text: String },
    /// It has booted, and stayed: it serves from now on.
    Promote { app: String, version: u32 },
    /// It did not boot: it will not serve.
    Fail { app: String, version: u32, dyno: String, why: Failure },
    /// It has reached the age at which a dyno is replaced.
    Cycle { place: Place },
    /// Its health check fails: another one is to take its place, the n-th time in a row.
    Replace { place: Place, times: u32 },
}

impl Plan {
    pub fn into_routes(self, generation: u64) -> Routes {
        Routes { generation, hosts: self.hosts, apps: self.routes }
    }

    /// Adds the plan of one app, but for its dynos.
    pub(super) fn add(&mut self, app: &Self) {
        let Self { dynos: _, draining, hosts, routes, turns, asleep, wake_ms } = app;
        self.draining.extend(draining.iter().map(|(slot, since_ms)| (slot.clone(), *since_ms)));
        self.hosts.extend(hosts.iter().map(|(host, id)| (host.clone(), id.clone())));
        self.routes.extend(routes.iter().map(|(id, route)| (id.clone(), route.clone())));
        self.turns.extend(turns.iter().cloned());
        self.asleep.extend(asleep.iter().cloned());
        if let Some(due_ms) = wake_ms {
            wake(&mut self.wake_ms, *due_ms);
        }
    }
}

/// All apps at once, whatever was decided before.
pub fn plan(facts: &Facts<'_>, stack_root: StackRoot<'_>) -> Plan {
    let mut plan = Plan::default();
    for state in &facts.snapshot.apps {
        let wanted = wanted::of_app(state, facts.patience, facts.classes, stack_root);
        let app = of_app(state, &wanted, facts);
        plan.add(&app);
        plan.dynos.extend(app.dynos);
    }
    plan
}

/// One app, whose releases come to the dynos `wanted`. It depends on no other.
pub(super) fn of_app(
    state: &AppState,
    wanted: &OrdMap<Slot, Arc<Wanted>>,
    facts: &Facts<'_>,
) -> Plan {
    let mut plan = Plan::default();
    let id = AppId::new(&state.app.id);
    let names = state.domains.iter().map(|domain| domain.hostname.clone());
    let own = format!("{}.{}", state.app.name, facts.apps_domain);
    plan.hosts.extend(names.chain([own]).map(|host| (host, id.clone())));
    let route = match sleep::judge(state, facts) {
        Sleep::Now => {
            plan.asleep.insert(state.app.id.clone());
            routing::asleep(state)
        }
        Sleep::Later(due_ms) => {
            wake(&mut plan.wake_ms, due_ms);
            serve(&mut plan, state, wanted, facts)
        }
        Sleep::Never => serve(&mut plan, state, wanted, facts),
    };
    plan.routes.insert(id, Arc::new(route));
    hold(&mut plan, &state.app.id, facts);
    plan
}

/// An app that is awake: its dynos, the next step of its releases, and its route.
fn serve(
    plan: &mut Plan,
    state: &AppState,
    wanted: &OrdMap<Slot, Arc<Wanted>>,
    facts: &Facts<'_>,
) -> AppRoute {
    plan.dynos = wanted.clone();
    for (turn, due_ms) in [replace::next(state, facts), cycle::next(state, facts)] {
        // One dyno at a time, whatever the reason.
        plan.turns.extend(turn.filter(|_| plan.turns.is_empty()));
        if let Some(due_ms) = due_ms {
            wake(&mut plan.wake_ms, due_ms);
        }
    }
    let Some(candidate) = &state.candidate else {
        return routing::route(state, facts.observed, None);
    };
    let (app, version) = (state.app.id.clone(), candidate.version);
    if candidate.phase == Phase::Releasing {
        plan.turns.push(Turn::RunReleasePhase { app, version });
        return routing::route(state, facts.observed, None);
    }
    let care = Care::of(&candidate.config).unwrap_or_default();
    // With nothing that serves beside it there is nothing to go back to.
    let length = if serves(state) { care.probation } else { Duration::ZERO };
    let mut canary = None;
    match judge(state, candidate, wanted, length, facts) {
        Verdict::Waiting { until_ms } => {
            if let Some(due_ms) = until_ms {
                wake(&mut plan.wake_ms, due_ms);
            }
        }
        Verdict::OnProbation { until_ms } => {
            wake(&mut plan.wake_ms, until_ms);
            if !candidate.steps.iter().any(|step| step.stage == Stage::Probation) {
                let text = care.probation_in_words();
                plan.turns.push(Turn::BeginProbation { app, version, text });
            }
            canary = Some((candidate, care.canary_percent));
        }
        Verdict::Boots => plan.turns.push(Turn::Promote { app, version }),
        Verdict::Fails { dyno, why } => {
            plan.turns.push(Turn::Fail { app, version, dyno, why });
        }
    }
    routing::route(state, facts.observed, canary)
}

/// What has become of a release that boots. One whose dynos nobody can start is not waited for.
fn judge(
    state: &AppState,
    candidate: &Release,
    wanted: &OrdMap<Slot, Arc<Wanted>>,
    length: Duration,
    facts: &Facts<'_>,
) -> Verdict {
    if let Some((place, lack)) = wanted::lacking(state, candidate, wanted, facts.classes) {
        return Verdict::Fails { dyno: place.dyno_name(), why: Failure::Lacks(lack) };
    }
    let ready_within = facts.patience.boot_timeout;
    let probation = Probation { length, ready_within, now_ms: facts.now_ms };
    verdict(&wanted::places(state, candidate), facts.observed, probation)
}

/// Whether requests are answered by a release now.
fn serves(state: &AppState) -> bool {
    let current = state.current.as_ref();
    current.is_some_and(|release| wanted::places(state, release).iter().any(Place::is_web))
}

/// The same dyno of the same release before it was restarted: only its port was another.
fn before_restart(wanted: &Wanted, place: &Place) -> Arc<Wanted> {
    let mut held = wanted.clone();
    held.spec.port = held.spec.port.map(|_| place.port());
    Arc::new(held)
}

/// Keeps dynos that are no longer wanted but must not go yet: the predecessor of one that is not up
/// and ready, and whatever still answers requests. Only what is up is kept, so nothing kept is restarted.
fn hold(plan: &mut Plan, app: &str, facts: &Facts<'_>) {
    let seen = || facts.observed.dynos.range(Place::slots_of(app));
    let surplus: Vec<(Place, &Slot, &ObservedDyno)> = seen()
        .filter(|(slot, dyno)| is_up(dyno) && !plan.dynos.contains_key(*slot))
        .filter_map(|(slot, dyno)| Some((Place::parse(slot)?, slot, dyno)))
        .collect();
    if surplus.is_empty() {
        return;
    }
    let successors: HashMap<String, Place> = plan
        .dynos
        .keys()
        .filter_map(Place::parse)
        .filter(|place| !facts.observed.dynos.get(&place.slot()).is_some_and(may_serve))
        .map(|place| (place.identity(), place))
        .collect();
    for (place, slot, dyno) in surplus {
        let successor = successors.get(&place.identity());
        let successor = successor.filter(|next| next.restarts > place.restarts);
        if let Some(wanted) = successor.and_then(|next| plan.dynos.get(&next.slot())) {
            let held = before_restart(wanted, &place);
            plan.dynos.insert(slot.clone(), held);
        } else if let Some(wanted) = facts.previous.dynos.get(slot).filter(|_| place.is_web()) {
            let since = facts.draining.get(slot).copied().unwrap_or(facts.now_ms);
            let busy = dyno.id.is_some_and(|id| facts.busy.contains(&id.to_string()));
            let for_ms = facts.now_ms.saturating_sub(since);
            if for_ms < UNROUTE_MS || (busy && for_ms < DRAIN_MS_MAX) {
                plan.dynos.insert(slot.clone(), wanted.clone());
                plan.draining.insert(slot.clone(), since);
            }
        }
    }
}
