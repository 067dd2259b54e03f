//! Dynos that are up and not well, or not ready: who is replaced, and who gets the requests.

use super::super::plan::{Plan, Turn};
use super::super::replace::Replaced;
use super::super::slots::Place;
use super::super::snapshot::AppState;
use super::super::verdict::Failure;
use super::{NOW_MS, Time, app, booting, decide, decide_at, observed, place, serving, the_route};
use lathe_dynos::checks::Finding;
use lathe_dynos::spec::{DynoState, Observed};
use lathe_router::Availability;

/// Its health check has failed since then.
fn ails(seen: &mut Observed, place: &Place, since_ms: u64) {
    let finding = Finding { since_ms, times: 3, why: "no answer".into() };
    seen.dynos.get_mut(&place.slot()).unwrap().ailing = Some(finding);
}

/// fault R6
#[test]
fn a_dyno_that_is_not_well_is_replaced_alone_and_gets_no_requests_while_others_are() {
    let mut state = AppState { current: Some(serving(1)), ..app() };
    state.formation[0].quantity = 3;
    let places = [1, 2, 3].map(|index| place(1, index, 0));
    let all_up = || observed(&places.clone().map(|place| (place, DynoState::Up, 0)));
    let judge = |seen: &Observed, replaced: Replaced| {
        decide_at(&state, None, seen, false, 0, &Time { replaced, ..Time::default() })
    };
    let replace = |times| vec![Turn::Replace { place: places[1].clone(), times }];
    let mut seen = all_up();
    ails(&mut seen, &places[1], NOW_MS - 10);
    let plan = judge(&seen, Replaced::default());
    let names = |plan: &Plan| {
        let route = the_route(plan);
        route.targets.iter().map(|target| target.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (plan.turns.clone(), names(&plan)),
        (replace(1), vec!["web.1".to_owned(), "web.3".into()])
    );

    // The one that has failed for longest goes first, and no second one while another starts.
    // With nobody well, requests go on going to whoever is there.
    places.iter().zip([5, 20, 10]).for_each(|(place, ms)| ails(&mut seen, place, NOW_MS - ms));
    let plan = judge(&seen, Replaced::default());
    assert_eq!((plan.turns.clone(), names(&plan).len()), (replace(1), 3));
    seen.dynos.get_mut(&places[0].slot()).unwrap().state = DynoState::Starting;
    assert_eq!(judge(&seen, Replaced::default()).turns, []);

    // Whoever comes to nothing again and again is given more time each time, and is not ended for it.
    let after = |times| {
        let mut replaced = Replaced::default();
        replaced.note(places[1].identity(), times, NOW_MS - 60_000);
        let mut seen = all_up();
        for place in &places {
            seen.dynos.get_mut(&place.slot()).unwrap().since_ms = NOW_MS - 50_000;
        }
        ails(&mut seen, &places[1], NOW_MS - 10_000);
        let plan = judge(&seen, replaced);
        (plan.turns, plan.wake_ms.map(|due_ms| due_ms - NOW_MS))
    };
    assert_eq!(after(2), (replace(3), None));
    assert_eq!(after(3), (vec![], Some(20_000)));
    assert_eq!(after(4), (vec![], Some(50_000)));
    assert_eq!(after(200), (vec![], None));
}

#[test]
fn who_is_not_ready_gets_nothing_and_a_release_needs_ready_dynos() {
    let mut state = AppState { current: Some(serving(1)), ..app() };
    let mut seen =
        observed(&[(place(1, 1, 0), DynoState::Up, 0), (place(2, 1, 0), DynoState::Up, 0)]);
    let unready = |seen: &mut Observed, version, since_ms| {
        let dyno = seen.dynos.get_mut(&place(version, 1, 0).slot()).unwrap();
        (dyno.ready, dyno.since_ms) = (false, since_ms);
    };
    unready(&mut seen, 1, 0);
    let plan = decide(&state, None, &seen, false, 0);
    assert_eq!((plan.turns.len(), the_route(&plan).availability), (0, Availability::Booting));

    state.candidate = Some(booting(2));
    unready(&mut seen, 2, NOW_MS - 50_000);
    let plan = decide(&state, None, &seen, false, 0);
    assert_eq!((plan.turns.len(), plan.wake_ms), (0, Some(NOW_MS + 10_000)));
    unready(&mut seen, 2, NOW_MS - 60_000);
    let plan = decide(&state, None, &seen, false, 0);
    let [Turn::Fail { why: Failure::NotReady, .. }] = plan.turns.as_slice() else { panic!() };
}
