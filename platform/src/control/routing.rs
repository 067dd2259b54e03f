//! Where an app's requests go, from what serves and what is seen. Pure.

use super::slots::Place;
use super::snapshot::AppState;
use super::wanted;
use crate::state::model::Release;
use lathe_dynos::spec::{DynoState, Observed, ObservedDyno};
use lathe_router::{AppRoute, Availability, Target};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// `canary`: a release that is on probation, and its percentage of the requests.
pub(super) fn route(
    state: &AppState,
    observed: &Observed,
    canary: Option<(&Release, u8)>,
) -> AppRoute {
    let serving = state.current.as_ref().filter(|release| release.slug.is_some());
    let targets = serving.map(|release| targets(state, release, observed)).unwrap_or_default();
    let availability = availability(state, serving, observed, !targets.is_empty());
    let targets = match (availability, canary) {
        (Availability::Serving, None) => targets,
        (Availability::Serving, Some((release, percent))) => {
            shared(targets, self::targets(state, release, observed), percent)
        }
        _ => Vec::new(),
    };
    AppRoute { name: state.app.name.clone(), availability, release: release(state), targets }
}

/// For each web dyno the one that is up and ready: the wanted one or, until that is, its predecessor.
/// Those that are not well only if there is no other: a check that fails for all of them is no reason
/// to answer nobody.
fn targets(state: &AppState, release: &Release, observed: &Observed) -> Vec<Target> {
    let web = wanted::places(state, release).into_iter().filter(Place::is_web);
    let mut all = None;
    let serving = web.filter_map(|place| {
        match observed.dynos.get(&place.slot()).filter(|dyno| may_serve(dyno)) {
            Some(dyno) => Some((place, dyno)),
            None => {
                all.get_or_insert_with(|| Serving::of_app(&place.app, observed)).predecessor(&place)
            }
        }
    });
    let serving: Vec<(Place, &ObservedDyno)> = serving.collect();
    let well = serving.iter().any(|(_, dyno)| dyno.ailing.is_none());
    let chosen = serving.iter().filter(|(_, dyno)| !well || dyno.ailing.is_none());
    chosen.filter_map(|(place, dyno)| target(place, dyno)).collect()
}

/// Nothing runs, and whoever asks wakes it.
pub(super) fn asleep(state: &AppState) -> AppRoute {
    let (name, availability) = (state.app.name.clone(), Availability::Asleep);
    AppRoute { name, availability, release: release(state), targets: Vec::new() }
}

fn release(state: &AppState) -> u32 {
    state.current.as_ref().map_or(0, |release| release.version)
}

/// Both releases' dynos, weighed so that the new ones together get `percent` of the requests.
fn shared(mut old: Vec<Target>, mut new: Vec<Target>, percent: u8) -> Vec<Target> {
    let count = |targets: &[Target]| u32::try_from(targets.len()).unwrap_or(u32::MAX);
    let percent = u32::from(percent);
    let (to_old, to_new) = ((100 - percent) * count(&new), percent * count(&old));
    for (targets, weight) in [(&mut old, to_old), (&mut new, to_new)] {
        for target in targets {
            target.weight = weight;
        }
    }
    old.append(&mut new);
    old.retain(|target| target.weight > 0);
    old
}

fn target(place: &Place, dyno: &ObservedDyno) -> Option<Target> {
    Some(Target {
        dyno: dyno.id?.to_string(),
        name: place.dyno_name(),
        address: SocketAddr::from((dyno.address?, place.port())),
        weight: 1,
    })
}

pub(super) fn is_up(dyno: &ObservedDyno) -> bool {
    dyno.state == DynoState::Up
}

/// Up, and ready if it is asked to be.
pub(super) fn may_serve(dyno: &ObservedDyno) -> bool {
    is_up(dyno) && dyno.ready
}

/// The dynos of an app that serve, by what a restart does not change and then by restarts.
struct Serving<'a>(BTreeMap<Key, (Place, &'a ObservedDyno)>);

type Key = (String, (u32, u32));

impl<'a> Serving<'a> {
    fn of_app(app: &str, observed: &'a Observed) -> Self {
        let seen = observed.dynos.range(Place::slots_of(app)).filter(|(_, dyno)| may_serve(dyno));
        let placed = seen.filter_map(|(slot, dyno)| Some((Place::parse(slot)?, dyno)));
        Self(placed.map(|(place, dyno)| (key(&place), (place, dyno))).collect())
    }

    /// The dyno that a restart is about to replace, while it still serves.
    fn predecessor(&self, place: &Place) -> Option<(Place, &'a ObservedDyno)> {
        let first = (place.identity(), (0, 0));
        let (_, (place, dyno)) = self.0.range(first..key(place)).next_back()?;
        Some((place.clone(), *dyno))
    }
}

fn key(place: &Place) -> Key {
    (place.identity(), place.restarts)
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
