//! The apps of a pretended world: releases that boot and one that never does.

use super::super::snapshot::{AppState, Snapshot};
use super::super::tests::{app, release};
use super::world::Size;
use crate::state::model::{Phase, Release, ReleaseStatus};
use lathe_dynos::fake::Dice;
use std::sync::Arc;

/// The command of a web process that never listens.
pub(super) const BAD: &str = "run bad";

/// Every app serves its first release; one dyno in five is a worker.
pub(super) fn all(size: Size) -> Snapshot {
    let state = |number: usize| {
        let mut state = app();
        state.app.id = format!("app{number}");
        state.app.name = format!("name{number}");
        state.formation[0].quantity = size.dynos - size.dynos / 5;
        let mut workers = state.formation[0].clone();
        workers.process_type = "worker".into();
        workers.quantity = size.dynos / 5;
        state.formation.push(workers);
        state.current = Some(of(&state, 1, false));
        Arc::new(state)
    };
    Snapshot { apps: (0..size.apps).map(state).collect() }
}

fn of(state: &AppState, version: u32, bad: bool) -> Release {
    let mut release = release(version, ReleaseStatus::Succeeded, Phase::Done, &["web", "worker"]);
    release.app.clone_from(&state.app.id);
    // Often enough to be among whatever else goes on, and no more.
    release.config.insert("LATHE_CHECK_INTERVAL".into(), "60".into());
    if let Some(slug) = release.slug.as_mut().filter(|_| bad) {
        slug.process_types[0].1 = BAD.into();
    }
    release
}

/// Somebody pushes: a candidate boots beside what serves, if none does already. No version is
/// there twice.
pub(super) fn push(state: &mut AppState, version: u32, bad: bool) {
    if state.candidate.is_none() {
        let mut candidate = of(state, version, bad);
        (candidate.status, candidate.phase) = (ReleaseStatus::Pending, Phase::Booting);
        state.candidate = Some(candidate);
    }
}

pub(super) fn scale(state: &mut AppState, dice: &mut Dice) {
    for formation in &mut state.formation {
        formation.quantity = 1 + u32::try_from(dice.below(5)).unwrap();
    }
}
