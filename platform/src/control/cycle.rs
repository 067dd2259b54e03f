//! Which dyno has reached the age at which it is replaced. Pure.
//!
//! Heroku Dev Center, "Dyno Restarts": once a day and up to 216 minutes, so that not all dynos go at
//! the same time. Here one dyno of an app goes at a time, and not while another is not up.

use super::plan::{Facts, Turn};
use super::slots::Place;
use super::snapshot::AppState;
use super::wanted;
use lathe_dynos::spec::{DynoId, DynoState};
use std::time::Duration;

/// 216 minutes of a day.
const JITTER_PER_MILLE: u128 = 150;

/// The dyno to replace now, if there is one, and else when the next is due.
pub(super) fn next(state: &AppState, facts: &Facts<'_>) -> (Option<Turn>, Option<u64>) {
    let Some(release) = state.current.as_ref().filter(|_| !facts.patience.cycle.is_zero()) else {
        return (None, None);
    };
    // Age can wait until the next release serves, and then nothing is old.
    if state.candidate.is_some() {
        return (None, None);
    }
    let mut oldest: Option<(u64, Place)> = None;
    for place in wanted::places(state, release) {
        let seen = facts.observed.dynos.get(&place.slot());
        let Some((dyno, id)) = seen.and_then(|dyno| Some((dyno, dyno.id?))) else {
            return (None, None);
        };
        if dyno.state != DynoState::Up {
            return (None, None);
        }
        let due_ms = dyno.since_ms.saturating_add(age_ms(facts.patience.cycle, id));
        if oldest.as_ref().is_none_or(|(other_ms, _)| due_ms < *other_ms) {
            oldest = Some((due_ms, place));
        }
    }
    match oldest {
        Some((due_ms, place)) if due_ms <= facts.now_ms => (Some(Turn::Cycle { place }), None),
        oldest => (None, oldest.map(|(due_ms, _)| due_ms)),
    }
}

/// How old this dyno may become: its identity is random, and so is its jitter.
fn age_ms(cycle: Duration, id: DynoId) -> u64 {
    let jitter =
        cycle.as_millis() * JITTER_PER_MILLE / 1000 * (id.0.as_u128() >> 64 & 0x3ff) / 0x3ff;
    u64::try_from(cycle.as_millis() + jitter).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn ages_are_spread_over_a_day_and_216_minutes() {
        let day = Duration::from_hours(24);
        let minutes = |bits: u128| age_ms(day, DynoId(Uuid::from_u128(bits << 64))) / 60_000;
        assert_eq!((minutes(0), minutes(0x3ff)), (24 * 60, 24 * 60 + 216));
        assert!((24 * 60 + 100..24 * 60 + 116).contains(&minutes(0x200)));
    }
}
