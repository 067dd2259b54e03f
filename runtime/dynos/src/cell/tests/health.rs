//! Dynos that are up and then not well, or not ready.

use super::{Machine, Running, SECOND, slot};
use crate::cell::Stop;
use crate::checks::{Check, Checks};
use crate::fake::{Behaviour, Call, Fault, desired};
use crate::spec::{Desired, DynoState, ObservedDyno, Wanted};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

fn wish(checks: &Checks) -> Desired {
    let mut wish = desired(1, ["web.1"]);
    let dynos = wish.dynos.iter();
    let asked = |wanted: &Wanted| Arc::new(Wanted { checks: checks.clone(), ..wanted.clone() });
    wish.dynos = dynos.map(|(slot, wanted)| (slot.clone(), asked(wanted))).collect();
    wish
}

fn dyno(cell: &Running) -> ObservedDyno {
    cell.observed.borrow().dynos[&slot("web.1")].clone()
}

/// fault R6
#[tokio::test(start_paused = true)]
async fn a_dyno_that_stops_accepting_is_found_and_left_running() {
    let sick = Some(SECOND * 100..SECOND * 200);
    let machine = Machine::new(Behaviour { sick, ..Behaviour::default() });
    let mut cell = machine.cell(wish(&Checks::default()));
    cell.until_all(DynoState::Up, 1).await;
    let up_ms = machine.clock.now_ms();
    cell.until("a finding", |o| o.dynos[&slot("web.1")].ailing.is_some()).await;
    let found_s = (machine.clock.now_ms() - up_ms) / 1000;
    // At most ten seconds to the first of three checks, ten each between them, five for the last.
    assert!((125..=135).contains(&found_s), "{found_s}");
    let seen = dyno(&cell);
    assert_eq!((seen.state, seen.ready), (DynoState::Up, true));
    cell.until("well again", |o| o.dynos[&slot("web.1")].ailing.is_none()).await;
    let said = cell.said();
    assert_eq!(
        said[said.len() - 2..],
        [
            "heroku[web.1]: Health check failed 3 times in a row: no connection to port 5000 was \
             accepted within 5 seconds",
            "heroku[web.1]: Health check passes again",
        ]
    );
    assert_eq!(machine.fake.starts().len(), 1, "whether it is replaced is not the cell's to say");
    cell.end(Stop::StopDynos).await;
}

#[tokio::test(start_paused = true)]
async fn a_dyno_that_is_not_ready_is_told_and_nothing_else() {
    let unready = Some(Duration::ZERO..SECOND * 30);
    let machine = Machine::new(Behaviour { unready, ..Behaviour::default() });
    let readiness = Some(Check::Command("ready".to_owned()));
    let mut cell = machine.cell(wish(&Checks { readiness, ..Checks::default() }));
    cell.until_all(DynoState::Up, 1).await;
    assert!(!dyno(&cell).ready, "it is asked before it is up");
    cell.until("ready", |o| o.dynos[&slot("web.1")].ready).await;
    let age_ms = machine.clock.now_ms() - machine.fake.starts()[0].at_ms;
    assert!((30_000..=31_100).contains(&age_ms), "{age_ms}: it is asked every second");
    assert_eq!(
        cell.said()[2..],
        [
            "heroku[web.1]: State changed from starting to up",
            "heroku[web.1]: Not ready, gets no requests: the command exited with status 1",
            "heroku[web.1]: Ready, gets requests",
        ]
    );
    assert_eq!((dyno(&cell).ailing, machine.fake.starts().len()), (None, 1));
    cell.end(Stop::StopDynos).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_has_to_succeed_before_a_dyno_is_up_and_an_engine_that_fails_is_not_its_fault() {
    let sick = Some(Duration::ZERO..SECOND * 10);
    let machine = Machine::new(Behaviour { sick, ..Behaviour::default() });
    let health = Check::Command("bin/check".to_owned());
    let mut cell = machine.cell(wish(&Checks { health, ..Checks::default() }));
    cell.until_all(DynoState::Up, 1).await;
    let age_ms = machine.clock.now_ms() - machine.fake.starts()[0].at_ms;
    assert!((10_000..=10_600).contains(&age_ms), "{age_ms}");
    machine.fake.fail(|call| (call == Call::Run).then_some(Fault::Refuse));
    sleep(SECOND * 300).await;
    assert_eq!((dyno(&cell).state, dyno(&cell).ailing), (DynoState::Up, None));
    cell.end(Stop::StopDynos).await;
}
