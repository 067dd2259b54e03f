//! Which dyno is replaced because its health check fails. Pure.
//!
//! Another one is started in its place, and only when that is well does it go: a check that fails for
//! everybody, because of a database that is away or of more requests than there are dynos for, ends
//! no dyno that still runs. One dyno of an app goes at a time, and one whose replacement fails like it
//! did waits longer each time, on the curve of crashes: it waits running, not down.

use super::plan::{Facts, Turn};
use super::slots::Place;
use super::snapshot::AppState;
use super::wanted;
use lathe_dynos::checks::Finding;
use lathe_dynos::clock::millis;
use lathe_dynos::restart;
use lathe_dynos::spec::{DynoState, ObservedDyno};
use std::collections::BTreeMap;
use std::time::Duration;

/// An entry that is older decides nothing any more: the longest wait of the curve is shorter.
const KEPT_MS: u64 = 3_600_000;

/// What was replaced lately, by what stays the same meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Replaced(BTreeMap<String, Replacement>);

#[derive(Clone, Copy, Debug)]
struct Replacement {
    /// In a row.
    times: u32,
    at_ms: u64,
}

impl Replaced {
    pub(super) fn note(&mut self, identity: String, times: u32, now_ms: u64) {
        self.0.retain(|_, replacement| now_ms < replacement.at_ms.saturating_add(KEPT_MS));
        self.0.insert(identity, Replacement { times, at_ms: now_ms });
    }

    fn times(&self, identity: &str) -> u32 {
        self.0.get(identity).map_or(0, |replacement| replacement.times)
    }
}

/// The dyno to replace now, if there is one, and else when the next is due.
pub(super) fn next(state: &AppState, facts: &Facts<'_>) -> (Option<Turn>, Option<u64>) {
    let Some(release) = &state.current else { return (None, None) };
    let mut first: Option<(u64, Turn)> = None;
    for place in wanted::places(state, release).into_iter().filter(Place::is_web) {
        let Some(dyno) = facts.observed.dynos.get(&place.slot()) else { return (None, None) };
        if dyno.state == DynoState::Starting {
            return (None, None);
        }
        let Some(finding) = &dyno.ailing else { continue };
        let Some((due_ms, times)) = due(&place, dyno, finding, facts.replaced) else { continue };
        if first.as_ref().is_none_or(|(other_ms, _)| due_ms < *other_ms) {
            first = Some((due_ms, Turn::Replace { place, times }));
        }
    }
    match first {
        Some((due_ms, turn)) if due_ms <= facts.now_ms => (Some(turn), None),
        first => (None, first.map(|(due_ms, _)| due_ms)),
    }
}

/// When, and how many times in a row that is then; none: never again.
fn due(
    place: &Place,
    dyno: &ObservedDyno,
    finding: &Finding,
    replaced: &Replaced,
) -> Option<(u64, u32)> {
    let before = replaced.times(&place.identity());
    let up_for = Duration::from_millis(finding.since_ms.saturating_sub(dyno.since_ms));
    let times = restart::crashed(before, Some(up_for));
    let wait = restart::wait(times - 1)?;
    Some((finding.since_ms.saturating_add(millis(wait)), times))
}
