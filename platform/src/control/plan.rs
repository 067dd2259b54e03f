//! The one decision of the control loop: what shall run, where requests go, which releases turn.
//!
//! Pure and level-triggered: state and observation in, everything out, the same each time.

use super::slots::Place;
use super::snapshot::{AppState, Snapshot};
use super::verdict::{Verdict, verdict};
use super::wanted::{self, StackRoot};
use crate::config::Patience;
use crate::state::model::{Phase, Release};
use lathe_dynos::class::Classes;
use lathe_dynos::spec::{Desired, DynoState, End, Observed, ObservedDyno, Slot, Wanted};
use lathe_logs::AppId;
use lathe_router::{AppRoute, Availability, Routes, Target};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

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
    pub now_ms: u64,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    pub dynos: BTreeMap<Slot, Wanted>,
    pub draining: BTreeMap<Slot, u64>,
    pub hosts: HashMap<String, AppId>,
    pub routes: BTreeMap<AppId, Arc<AppRoute>>,
    pub turns: Vec<Turn>,
}

/// A step of a release that has to be written down.
#[derive(Clone, PartialEq, Debug)]
pub enum Turn {
    /// Its `release` process has to run before anything boots.
    RunReleasePhase { app: String, version: u32 },
    /// It booted: it serves from now on.
    Promote { app: String, version: u32 },
    /// It did not boot: it will not serve.
    Fail { app: String, version: u32, dyno: String, end: Option<End> },
}

impl Plan {
    pub fn into_routes(self, generation: u64) -> Routes {
        Routes { generation, hosts: self.hosts, apps: self.routes }
    }
}

pub fn plan(facts: &Facts<'_>, stack_root: StackRoot<'_>) -> Plan {
    let mut plan = Plan::default();
    for state in &facts.snapshot.apps {
        plan.dynos.extend(wanted::of_app(state, facts.patience, facts.classes, stack_root));
        plan.turns.extend(turn(state, facts.observed));
        let id = AppId::new(&state.app.id);
        let names = state.domains.iter().map(|domain| domain.hostname.clone());
        let own = format!("{}.{}", state.app.name, facts.apps_domain);
        plan.hosts.extend(names.chain([own]).map(|host| (host, id.clone())));
        plan.routes.insert(id, Arc::new(route(state, facts.observed)));
    }
    hold(&mut plan, facts);
    plan
}

fn turn(state: &AppState, observed: &Observed) -> Option<Turn> {
    let candidate = state.candidate.as_ref()?;
    let app = state.app.id.clone();
    let version = candidate.version;
    if candidate.phase == Phase::Releasing {
        return Some(Turn::RunReleasePhase { app, version });
    }
    match verdict(&wanted::places(state, candidate), observed) {
        Verdict::Waiting => None,
        Verdict::Boots => Some(Turn::Promote { app, version }),
        Verdict::Fails { dyno, end } => Some(Turn::Fail { app, version, dyno, end }),
    }
}

fn route(state: &AppState, observed: &Observed) -> AppRoute {
    let serving = state.current.as_ref().filter(|release| release.slug.is_some());
    let targets = serving.map(|release| targets(state, release, observed)).unwrap_or_default();
    let availability = availability(state, serving, observed, !targets.is_empty());
    let targets = if availability == Availability::Serving { targets } else { Vec::new() };
    AppRoute { name: state.app.name.clone(), availability, targets }
}

/// For each web dyno the one that is up: the wanted one or, until that is up, its predecessor.
fn targets(state: &AppState, release: &Release, observed: &Observed) -> Vec<Target> {
    let web = wanted::places(state, release).into_iter().filter(Place::is_web);
    web.filter_map(|place| {
        let wanted = observed.dynos.get(&place.slot()).filter(|dyno| is_up(dyno));
        if let Some(dyno) = wanted {
            return target(&place, dyno);
        }
        let (place, dyno) = predecessor(&place, observed)?;
        target(&place, dyno)
    })
    .collect()
}

fn target(place: &Place, dyno: &ObservedDyno) -> Option<Target> {
    Some(Target {
        dyno: dyno.id?.to_string(),
        name: place.dyno_name(),
        address: SocketAddr::from((dyno.address?, place.port())),
    })
}

fn is_up(dyno: &ObservedDyno) -> bool {
    dyno.state == DynoState::Up
}

/// The dyno that a restart is about to replace, while it is still up.
fn predecessor<'a>(place: &Place, observed: &'a Observed) -> Option<(Place, &'a ObservedDyno)> {
    observed
        .dynos
        .iter()
        .filter(|(_, dyno)| is_up(dyno))
        .filter_map(|(slot, dyno)| Some((Place::parse(slot)?, dyno)))
        .filter(|(other, _)| {
            other.identity() == place.identity() && other.restarts < place.restarts
        })
        .max_by_key(|(other, _)| other.restarts)
}

fn availability(
    state: &AppState,
    serving: Option<&Release>,
    observed: &Observed,
    any_target: bool,
) -> Availability {
    if state.app.maintenance {
        return Availability::Maintenance;
    }
    let Some(release) = serving else {
        let first = state.candidate.is_some();
        return if first { Availability::Booting } else { Availability::Blank };
    };
    if any_target {
        return Availability::Serving;
    }
    let places = wanted::places(state, release);
    let mut web = places.iter().filter(|place| place.is_web()).peekable();
    if web.peek().is_none() {
        return Availability::NoWeb;
    }
    let crashed = |place: &Place| {
        observed.dynos.get(&place.slot()).is_some_and(|dyno| dyno.state == DynoState::Crashed)
    };
    if web.all(crashed) { Availability::Crashed } else { Availability::Booting }
}

/// The same dyno of the same release before it was restarted: only its port was another.
fn before_restart(wanted: &Wanted, place: &Place) -> Wanted {
    let mut held = wanted.clone();
    held.spec.port = held.spec.port.map(|_| place.port());
    held
}

/// Keeps dynos that are no longer wanted but must not go yet: the predecessor of one that is not
/// up, and whatever still answers requests. Only what is up is kept, so nothing kept is restarted.
fn hold(plan: &mut Plan, facts: &Facts<'_>) {
    let apps: HashSet<&str> = facts.snapshot.apps.iter().map(|s| s.app.id.as_str()).collect();
    let successors: HashMap<String, Place> = plan
        .dynos
        .keys()
        .filter_map(Place::parse)
        .filter(|place| !facts.observed.dynos.get(&place.slot()).is_some_and(is_up))
        .map(|place| (place.identity(), place))
        .collect();
    for (slot, dyno) in facts.observed.dynos.iter().filter(|(_, dyno)| is_up(dyno)) {
        let Some(place) = Place::parse(slot) else { continue };
        if !apps.contains(place.app.as_str()) || plan.dynos.contains_key(slot) {
            continue;
        }
        let successor = successors.get(&place.identity());
        let successor = successor.filter(|next| next.restarts > place.restarts);
        if let Some(wanted) = successor.and_then(|next| plan.dynos.get(&next.slot())) {
            plan.dynos.insert(slot.clone(), before_restart(wanted, &place));
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
