//! The plan, case by case: what serves goes on serving, and only what booted serves.

mod checks;

use super::plan::{Facts, Plan, Turn, plan};
use super::replace::Replaced;
use super::slots::Place;
use super::snapshot::{AppState, Snapshot};
use super::verdict::Failure;
use super::wanted::{self, Lack};
use crate::config::Patience;
use crate::state::model::{Account, App, Config, Formation, Phase, Release, ReleaseStatus, Slug};
use crate::state::restarts::DynoRestarts;
use jiff::Timestamp;
use lathe_dynos::class::Classes;
use lathe_dynos::spec::{Desired, DynoId, DynoState, End, EndCause, Observed, ObservedDyno};
use lathe_logs::AppId;
use lathe_router::{AppRoute, Availability};
use lathe_slug::SlugId;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

const NOW_MS: u64 = 1_000_000;

fn account() -> Account {
    Account { id: "me".into(), email: "me@example.com".into(), created_at: Timestamp::UNIX_EPOCH }
}

pub(super) fn release(
    version: u32,
    status: ReleaseStatus,
    phase: Phase,
    types: &[&str],
) -> Release {
    let slug = Slug {
        id: format!("slug-{version}"),
        app: "app".into(),
        digest: Some(SlugId::from_digest([7; 32])),
        diff_id: None,
        bytes: 1,
        commit: None,
        stack: "stack".into(),
        process_types: types.iter().map(|name| ((*name).into(), format!("run {name}"))).collect(),
        buildpacks: Vec::new(),
        config_defaults: Config::new(),
        inputs: None,
        created_at: Timestamp::UNIX_EPOCH,
    };
    Release {
        id: format!("release-{version}"),
        app: "app".into(),
        version,
        slug: Some(slug),
        config: Config::from([("VERSION".into(), version.to_string())]),
        description: String::new(),
        status,
        phase,
        failure: None,
        account: account(),
        output: None,
        steps: Vec::new(),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

/// An app with one web dyno and no release.
pub(super) fn app() -> AppState {
    AppState {
        app: App {
            id: "app".into(),
            name: "demo".into(),
            owner: account(),
            uid: 200_000,
            system: false,
            maintenance: false,
            acm: false,
            current: None,
            candidate: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        },
        current: None,
        candidate: None,
        formation: vec![Formation {
            id: "f".into(),
            process_type: "web".into(),
            quantity: 1,
            size: "Standard-1X".into(),
            restarts: 0,
            updated_at: Timestamp::UNIX_EPOCH,
        }],
        dyno_restarts: DynoRestarts::default(),
        domains: Vec::new(),
        metrics: false,
    }
}

fn serving(version: u32) -> Release {
    release(version, ReleaseStatus::Succeeded, Phase::Done, &["web"])
}

fn booting(version: u32) -> Release {
    release(version, ReleaseStatus::Pending, Phase::Booting, &["web"])
}

fn place(version: u32, index: u32, restarts: u32) -> Place {
    Place {
        app: "app".into(),
        release: version,
        process_type: "web".into(),
        index,
        restarts: (restarts, 0),
    }
}

fn seen(state: DynoState, crashes: u32) -> ObservedDyno {
    let end = End {
        status: 1,
        cause: EndCause::Exit,
        memory_peak_bytes: 0,
        listened: Vec::new(),
        last_lines: Vec::new(),
    };
    ObservedDyno {
        id: (state != DynoState::Crashed).then(|| DynoId(Uuid::from_u128(u128::from(crashes) + 7))),
        state,
        address: Some(Ipv4Addr::new(10, 0, 0, 9)),
        since_ms: 0,
        crashes,
        ready: state == DynoState::Up,
        ailing: None,
        last_end: (crashes > 0).then_some(end),
    }
}

fn observed(dynos: &[(Place, DynoState, u32)]) -> Observed {
    let dynos = dynos.iter().map(|(place, state, crashes)| (place.slot(), seen(*state, *crashes)));
    Observed { generation: 1, dynos: dynos.collect() }
}

/// Plans for one app, as if `before` had been desired until now.
fn decide(
    state: &AppState,
    before: Option<&AppState>,
    seen: &Observed,
    busy: bool,
    waited_ms: u64,
) -> Plan {
    decide_at(state, before, seen, busy, waited_ms, &Time::default())
}

struct Time {
    patience: Patience,
    listening_since_ms: u64,
    replaced: Replaced,
}

impl Default for Time {
    fn default() -> Self {
        let (patience, replaced) = (Patience::HEROKU, Replaced::default());
        Self { patience, listening_since_ms: NOW_MS, replaced }
    }
}

fn decide_at(
    state: &AppState,
    before: Option<&AppState>,
    seen: &Observed,
    busy: bool,
    waited_ms: u64,
    time: &Time,
) -> Plan {
    let root = |stack: &str| (stack == "stack").then(|| PathBuf::from("/stack"));
    let previous = before
        .map(|before| wanted::of_app(before, Patience::HEROKU, &Classes::standard(), &root))
        .unwrap_or_default();
    let since = NOW_MS - waited_ms;
    let draining = seen.dynos.keys().map(|slot| (slot.clone(), since)).collect();
    let ids = seen.dynos.values().filter_map(|dyno| dyno.id).map(|id| id.to_string());
    let busy = if busy { ids.collect() } else { BTreeSet::new() };
    let facts = Facts {
        snapshot: &Snapshot { apps: vec![Arc::new(state.clone())] },
        observed: seen,
        previous: &Desired { generation: 1, dynos: previous },
        draining: &draining,
        busy: &busy,
        apps_domain: "localhost",
        patience: time.patience,
        classes: &Classes::standard(),
        replaced: &time.replaced,
        asked_ms: &HashMap::new(),
        listening_since_ms: time.listening_since_ms,
        now_ms: NOW_MS,
    };
    plan(&facts, &root)
}

fn the_route(plan: &Plan) -> Arc<AppRoute> {
    plan.routes[&AppId::new("app")].clone()
}

fn slots(plan: &Plan) -> Vec<String> {
    plan.dynos.keys().map(|slot| slot.0.clone()).collect()
}

#[test]
fn a_first_release_boots_before_it_serves() {
    let state = AppState { candidate: Some(booting(1)), ..app() };
    let plan = decide(&state, None, &Observed::default(), false, 0);
    assert_eq!(slots(&plan), ["app/v1/web.1/0.0"]);
    assert_eq!(the_route(&plan).availability, Availability::Booting);
    assert_eq!(plan.turns, []);
    let up = observed(&[(place(1, 1, 0), DynoState::Up, 0)]);
    let plan = decide(&state, None, &up, false, 0);
    assert_eq!(plan.turns, [Turn::Promote { app: "app".into(), version: 1 }]);
    assert!(the_route(&plan).targets.is_empty(), "not before it is written down");
}

#[test]
fn a_release_that_ends_instead_of_booting_fails_and_the_old_one_serves_on() {
    let state = AppState { current: Some(serving(1)), candidate: Some(booting(2)), ..app() };
    let seen =
        observed(&[(place(1, 1, 0), DynoState::Up, 0), (place(2, 1, 0), DynoState::Crashed, 1)]);
    let plan = decide(&state, None, &seen, false, 0);
    let [Turn::Fail { version: 2, dyno, why: Failure::Ended(Some(end)), .. }] =
        plan.turns.as_slice()
    else {
        panic!("{:?}", plan.turns)
    };
    assert_eq!((dyno.as_str(), end.status), ("web.1", 1));
    assert_eq!(the_route(&plan).availability, Availability::Serving);
    assert_eq!(slots(&plan), ["app/v1/web.1/0.0", "app/v2/web.1/0.0"]);
}

#[test]
fn a_release_whose_dynos_nobody_can_start_fails_at_once() {
    let serving = AppState { current: Some(serving(1)), ..app() };
    let judge = |state: &AppState| {
        let up = observed(&[(place(1, 1, 0), DynoState::Up, 0)]);
        decide(state, Some(state), &up, false, 0).turns
    };
    let fails = |lack| {
        let why = Failure::Lacks(lack);
        vec![Turn::Fail { app: "app".into(), version: 2, dyno: "web.1".into(), why }]
    };
    let mut elsewhere = booting(2);
    elsewhere.slug.as_mut().unwrap().stack = "other".into();
    let state = AppState { candidate: Some(elsewhere), ..serving.clone() };
    assert_eq!(judge(&state), fails(Lack::Stack("other".into())));

    let mut state = AppState { candidate: Some(booting(2)), ..serving };
    assert_eq!(judge(&state), []);
    state.formation[0].size = "Removed".into();
    assert_eq!(judge(&state), fails(Lack::Class("Removed".into())));
    state.formation[0].quantity = 0;
    let promoted = [Turn::Promote { app: "app".into(), version: 2 }];
    assert_eq!(judge(&state), promoted, "none is asked for");
}

#[test]
fn the_release_phase_comes_before_any_dyno() {
    let phase = release(2, ReleaseStatus::Pending, Phase::Releasing, &["web", "release"]);
    let state = AppState { current: Some(serving(1)), candidate: Some(phase), ..app() };
    let plan = decide(&state, None, &Observed::default(), false, 0);
    assert_eq!(slots(&plan), ["app/v1/web.1/0.0"]);
    assert_eq!(plan.turns, [Turn::RunReleasePhase { app: "app".into(), version: 2 }]);
}

#[test]
fn an_old_dyno_finishes_its_requests_before_it_is_stopped() {
    let before = AppState { current: Some(serving(1)), candidate: Some(booting(2)), ..app() };
    let state = AppState { current: Some(serving(2)), ..app() };
    let seen = observed(&[(place(1, 1, 0), DynoState::Up, 0), (place(2, 1, 0), DynoState::Up, 0)]);
    let held =
        |busy, waited_ms| slots(&decide(&state, Some(&before), &seen, busy, waited_ms)).len() == 2;
    assert!(held(false, 500), "a router may still send to it");
    assert!(held(true, 20_000), "it has requests");
    assert!(!held(false, 2_000), "it is idle");
    assert!(!held(true, 31_000), "it had its time");
    let targets = the_route(&decide(&state, Some(&before), &seen, true, 500)).targets.clone();
    assert_eq!(targets.len(), 1);
    assert_eq!(targets[0].address.port(), place(2, 1, 0).port());
}

#[test]
fn a_restarted_dyno_serves_until_its_successor_is_up() {
    let before = AppState { current: Some(serving(1)), ..app() };
    let mut state = before.clone();
    state.formation[0].restarts = 1;
    let old = (place(1, 1, 0), DynoState::Up, 0);
    for successor in [DynoState::Starting, DynoState::Crashed] {
        let seen = observed(&[old.clone(), (place(1, 1, 1), successor, 0)]);
        let plan = decide(&state, Some(&before), &seen, false, 60_000);
        assert_eq!(slots(&plan), ["app/v1/web.1/0.0", "app/v1/web.1/1.0"]);
        assert_eq!(the_route(&plan).targets[0].address.port(), place(1, 1, 0).port());
    }
    let seen = observed(&[old, (place(1, 1, 1), DynoState::Up, 0)]);
    let plan = decide(&state, Some(&before), &seen, false, 60_000);
    assert_eq!(slots(&plan), ["app/v1/web.1/1.0"]);
    assert_eq!(the_route(&plan).targets.len(), 1);
}

#[test]
fn a_release_on_probation_has_its_share_and_is_promoted_or_taken_back() {
    let mut next = booting(2);
    next.config.insert("LATHE_PROBATION".into(), "60".into());
    next.config.insert("LATHE_CANARY".into(), "25".into());
    let state = AppState { current: Some(serving(1)), candidate: Some(next), ..app() };
    let since = |since_ms| {
        let both = [(place(1, 1, 0), DynoState::Up, 0), (place(2, 1, 0), DynoState::Up, 0)];
        let mut seen = observed(&both);
        seen.dynos.get_mut(&place(2, 1, 0).slot()).unwrap().since_ms = since_ms;
        seen
    };
    let plan = decide(&state, None, &since(NOW_MS - 10_000), false, 0);
    let text = "has booted and is on probation: 25% of the requests for 60 seconds".into();
    assert_eq!(plan.turns, [Turn::BeginProbation { app: "app".into(), version: 2, text }]);
    assert_eq!(plan.wake_ms, Some(NOW_MS + 50_000));
    let weights: Vec<_> = the_route(&plan)
        .targets
        .iter()
        .map(|target| (target.address.port(), target.weight))
        .collect();
    assert_eq!(weights, [(place(1, 1, 0).port(), 75), (place(2, 1, 0).port(), 25)]);

    let plan = decide(&state, None, &since(NOW_MS - 60_000), false, 0);
    assert_eq!(plan.turns, [Turn::Promote { app: "app".into(), version: 2 }]);
    let seen =
        observed(&[(place(1, 1, 0), DynoState::Up, 0), (place(2, 1, 0), DynoState::Crashed, 1)]);
    let plan = decide(&state, None, &seen, false, 0);
    assert!(matches!(plan.turns.as_slice(), [Turn::Fail { version: 2, .. }]));
    assert_eq!(the_route(&plan).targets.len(), 1);

    // With nothing beside it there is nothing to go back to.
    let first = AppState { current: None, ..state };
    let plan = decide(&first, None, &since(NOW_MS), false, 0);
    assert_eq!(plan.turns, [Turn::Promote { app: "app".into(), version: 2 }]);
}

#[test]
fn who_is_not_asked_for_sleeps_if_his_class_does() {
    let mut state = AppState { current: Some(serving(1)), ..app() };
    let up = observed(&[(place(1, 1, 0), DynoState::Up, 0)]);
    let judge = |state: &AppState, busy, silent_ms: u64| {
        let patience =
            Patience { sleep_after: std::time::Duration::from_secs(100), ..Patience::HEROKU };
        let listening_since_ms = NOW_MS - silent_ms;
        let time = Time { patience, listening_since_ms, ..Time::default() };
        decide_at(state, None, &up, busy, 60_000, &time)
    };
    assert!(judge(&state, false, 900_000).asleep.is_empty(), "Standard-1X");
    state.formation[0].size = "Eco".into();
    let asleep = judge(&state, false, 100_000);
    assert_eq!(asleep.asleep, BTreeSet::from(["app".to_owned()]));
    assert_eq!((slots(&asleep).len(), the_route(&asleep).availability), (0, Availability::Asleep));
    let awake = judge(&state, false, 99_000);
    assert_eq!((awake.asleep.len(), awake.wake_ms), (0, Some(NOW_MS + 1000)));
    assert!(judge(&state, true, 900_000).asleep.is_empty(), "a request lasts");
    state.candidate = Some(booting(2));
    assert!(judge(&state, false, 900_000).asleep.is_empty(), "a release is under way");
}

#[test]
fn dynos_are_cycled_one_at_a_time_and_only_when_asked() {
    let mut state = AppState { current: Some(serving(1)), ..app() };
    state.formation[0].quantity = 2;
    let judge_of = |state: &AppState, second, cycle_secs| {
        let seen = observed(&[(place(1, 1, 0), DynoState::Up, 0), (place(1, 2, 0), second, 0)]);
        let cycle = std::time::Duration::from_secs(cycle_secs);
        let patience = Patience { cycle, ..Patience::HEROKU };
        let time = Time { patience, ..Time::default() };
        decide_at(state, None, &seen, false, 0, &time)
    };
    let judge = |second, cycle_secs| judge_of(&state, second, cycle_secs);
    assert_eq!(judge(DynoState::Up, 0).turns, []);
    assert_eq!(judge(DynoState::Starting, 500).turns, []);
    let cycled = judge(DynoState::Up, 500).turns;
    assert_eq!(cycled, [Turn::Cycle { place: place(1, 1, 0) }]);
    let later = judge(DynoState::Up, 2000);
    assert_eq!(later.turns, []);
    assert!((2_000_000..=2_300_000).contains(&later.wake_ms.unwrap()));
    let next = AppState { candidate: Some(booting(2)), ..state.clone() };
    let waits = judge_of(&next, DynoState::Up, 500);
    assert_eq!((waits.turns, waits.wake_ms), (vec![], None), "a release is under way");
}

#[test]
fn what_the_router_may_say_follows_from_the_state() {
    let up = observed(&[(place(1, 1, 0), DynoState::Up, 0)]);
    let crashed = observed(&[(place(1, 1, 0), DynoState::Crashed, 3)]);
    let nothing = Observed::default();
    let current = AppState { current: Some(serving(1)), ..app() };
    let mut scaled_down = current.clone();
    scaled_down.formation[0].quantity = 0;
    let mut maintenance = current.clone();
    maintenance.app.maintenance = true;
    let cases = [
        (&app(), &nothing, Availability::Blank),
        (&current, &nothing, Availability::Booting),
        (&current, &up, Availability::Serving),
        (&current, &crashed, Availability::Crashed),
        (&scaled_down, &up, Availability::NoWeb),
        (&maintenance, &up, Availability::Maintenance),
    ];
    for (state, seen, expected) in cases {
        let route = the_route(&decide(state, None, seen, false, 0));
        assert_eq!(route.availability, expected);
        assert_eq!(route.targets.is_empty(), expected != Availability::Serving);
    }
}

fn any_state() -> impl Strategy<Value = DynoState> {
    prop_oneof![
        Just(DynoState::Starting),
        Just(DynoState::Up),
        Just(DynoState::Stopping),
        Just(DynoState::Crashed)
    ]
}

fn any_dyno() -> impl Strategy<Value = (Place, DynoState, u32)> {
    (1..4_u32, 1..4_u32, 0..3_u32, any_state(), 0..2_u32).prop_map(
        |(version, index, restarts, state, crashes)| {
            (place(version, index, restarts), state, crashes)
        },
    )
}

proptest! {
    /// Whatever is observed: requests go to dynos of the serving release that are up and stay
    /// wanted; everything the formation asks for is wanted; nothing else but what is up is held.
    #[test]
    fn no_observation_breaks_the_invariants(
        dynos in proptest::collection::vec(any_dyno(), 0..12),
        quantity in 0..4_u32,
        restarts in 0..3_u32,
        candidate in any::<bool>(),
        busy in any::<bool>(),
        waited_ms in 0..60_000_u64,
    ) {
        let mut state = AppState { current: Some(serving(2)), ..app() };
        state.candidate = candidate.then(|| booting(3));
        state.formation[0].quantity = quantity;
        state.formation[0].restarts = restarts;
        let mut before = state.clone();
        before.formation[0].restarts = restarts.saturating_sub(1);
        let seen = observed(&dynos);
        let plan = decide(&state, Some(&before), &seen, busy, waited_ms);
        let root = |_: &str| Some(PathBuf::from("/stack"));
        let asked = wanted::of_app(&state, Patience::HEROKU, &Classes::standard(), &root);
        for (slot, wanted) in &asked {
            prop_assert_eq!(plan.dynos.get(slot), Some(wanted));
        }
        for slot in plan.dynos.keys().filter(|slot| !asked.contains_key(*slot)) {
            prop_assert_eq!(seen.dynos[slot].state, DynoState::Up);
        }
        let route = the_route(&plan);
        prop_assert!(route.targets.len() <= quantity as usize);
        for target in &route.targets {
            let place = plan.dynos.keys().filter_map(Place::parse)
                .find(|place| place.port() == target.address.port() && place.dyno_name() == target.name);
            prop_assert_eq!(place.map(|place| place.release), Some(2));
        }
    }
}
