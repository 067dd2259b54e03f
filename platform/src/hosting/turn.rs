//! What the platform does with a release of the system app. Pure.

use super::{Seat, Version};
use crate::state::model::Phase;

/// Whoever has pushed it has his answer by then.
const ANSWER_MS: u64 = 2_000;

/// What is known of a release that is to serve next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// The release's id.
    pub(super) release: &'a str,
    /// Releasing: it is to be rehearsed. Booting: it has been.
    pub(super) phase: Phase,
    /// For how long it has been in its phase.
    pub(super) for_ms: u64,
    /// There is a keeper.
    pub(super) kept: bool,
    /// Nobody waits for an answer that this platform would take along.
    pub(super) quiet: bool,
    /// For how long those who wait are waited for.
    pub(super) patience_ms: u64,
    pub(super) seat: &'a Seat,
    pub(super) wished: Option<&'a Version>,
    pub(super) rehearsal: &'a Rehearsal,
}

/// How far the rehearsal is, and of which release.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Rehearsal {
    #[default]
    None,
    Running(String),
    Ended {
        release: String,
        /// Or why it cannot be the platform.
        outcome: Result<(), String>,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Wait,
    /// Until nobody waits for an answer any more.
    Attend,
    Rehearse,
    /// It has passed its rehearsal.
    Pass,
    /// Ask the keeper for it.
    Wish,
    Promote,
    Fail(String),
}

pub(super) fn turn(facts: Facts<'_>) -> Turn {
    let it = |version: &Version| version.release == facts.release;
    let seat = facts.seat;
    if let Some(verdict) = seat.verdict.as_ref().filter(|verdict| it(&verdict.version)) {
        return match &verdict.failure {
            None => Turn::Promote,
            Some(why) => Turn::Fail(why.clone()),
        };
    }
    if seat.trial.as_ref().is_some_and(it) {
        return Turn::Wait;
    }
    if !facts.kept {
        let why = "Nobody keeps this platform, so it cannot become another version of itself: \
            start it with `lathe up --self-hosted`";
        return Turn::Fail(why.into());
    }
    match facts.phase {
        Phase::Releasing => rehearsed(facts.release, facts.rehearsal),
        Phase::Booting | Phase::Done if facts.wished.is_some_and(it) => Turn::Wait,
        Phase::Booting | Phase::Done if facts.for_ms < ANSWER_MS => Turn::Wait,
        Phase::Booting | Phase::Done => {
            let now = facts.quiet || facts.for_ms >= facts.patience_ms;
            if now { Turn::Wish } else { Turn::Attend }
        }
    }
}

fn rehearsed(release: &str, rehearsal: &Rehearsal) -> Turn {
    match rehearsal {
        Rehearsal::Running(_) => Turn::Wait,
        Rehearsal::Ended { release: ended, outcome } if ended == release => match outcome {
            Ok(()) => Turn::Pass,
            Err(why) => Turn::Fail(why.clone()),
        },
        Rehearsal::Ended { .. } | Rehearsal::None => Turn::Rehearse,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::version::sample;
    use super::*;

    const PATIENCE_MS: u64 = 600_000;

    fn facts<'a>(seat: &'a Seat, rehearsal: &'a Rehearsal) -> Facts<'a> {
        let (kept, quiet, patience_ms, wished) = (true, true, PATIENCE_MS, None);
        let (release, phase, for_ms) = ("r2", Phase::Releasing, 0);
        Facts { release, phase, for_ms, kept, quiet, patience_ms, seat, wished, rehearsal }
    }

    #[test]
    fn a_release_is_rehearsed_first() {
        let seat = Seat { good: Some(sample(1)), ..Seat::default() };
        let ended = |number: u32, failure: Option<&str>| Rehearsal::Ended {
            release: format!("r{number}"),
            outcome: failure.map_or(Ok(()), |why| Err(why.to_owned())),
        };
        let cases = [
            (Rehearsal::None, Turn::Rehearse),
            (Rehearsal::Running("r2".into()), Turn::Wait),
            (ended(1, None), Turn::Rehearse),
            (ended(2, Some("no")), Turn::Fail("no".into())),
            (ended(2, None), Turn::Pass),
        ];
        for (rehearsal, expected) in cases {
            assert_eq!(turn(facts(&seat, &rehearsal)), expected, "{rehearsal:?}");
        }
    }

    #[test]
    fn then_it_is_wished_for_when_nobody_waits_and_its_verdict_is_carried_out() {
        let none = Rehearsal::None;
        let seat = Seat { good: Some(sample(1)), ..Seat::default() };
        let (one, two) = (sample(1), sample(2));
        let booting = Facts { phase: Phase::Booting, for_ms: ANSWER_MS, ..facts(&seat, &none) };
        let cases = [
            (booting, Turn::Wish),
            (Facts { wished: Some(&one), ..booting }, Turn::Wish),
            (Facts { wished: Some(&two), ..booting }, Turn::Wait),
            (Facts { for_ms: ANSWER_MS - 1, ..booting }, Turn::Wait),
            (Facts { quiet: false, ..booting }, Turn::Attend),
            (Facts { quiet: false, for_ms: ANSWER_MS - 1, ..booting }, Turn::Wait),
            (Facts { quiet: false, for_ms: PATIENCE_MS - 1, ..booting }, Turn::Attend),
            (Facts { quiet: false, for_ms: PATIENCE_MS, ..booting }, Turn::Wish),
            (Facts { quiet: false, patience_ms: 0, ..booting }, Turn::Wish),
        ];
        for (facts, expected) in cases {
            assert_eq!(turn(facts), expected, "{facts:?}");
        }
        let judged = |number: u32, failure: Option<&str>| Seat {
            verdict: Some(Verdict { version: sample(number), failure: failure.map(Into::into) }),
            ..seat.clone()
        };
        let cases = [
            (seat.clone().on_trial(sample(2)), Turn::Wait),
            (judged(2, None), Turn::Promote),
            (judged(2, Some("bad")), Turn::Fail("bad".into())),
            (judged(1, Some("bad")), Turn::Wish),
        ];
        for (seat, expected) in cases {
            assert_eq!(turn(Facts { seat: &seat, ..booting }), expected, "{seat:?}");
        }
    }

    #[test]
    fn without_a_keeper_nothing_is_tried_but_a_verdict_still_counts() {
        let (seat, none) = (Seat::default(), Rehearsal::None);
        let unkept = Facts { kept: false, ..facts(&seat, &none) };
        assert!(matches!(turn(unkept), Turn::Fail(why) if why.contains("--self-hosted")));
        let seat = seat.clone().on_trial(sample(2)).kept();
        assert_eq!(turn(Facts { seat: &seat, ..unkept }), Turn::Promote);
    }
}
