//! What the keeper does next, from what it sees. Pure; times are milliseconds of one clock.

use super::process::OWN;
use super::{Seat, Version};
use crate::config::Upgrade;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A platform that ended is not started again sooner.
const PAUSE_MS: u64 = 1_000;
/// A program that was made the keeper so often, and never was one for long, is left alone.
const HANDED_MAX: u32 = 3;

/// What is seen of the platform that was started last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) started_ms: u64,
    /// Of its first good answer.
    pub(super) ready_ms: Option<u64>,
    /// Since when it has not answered well, and how; before it is ready, how it does not.
    pub(super) sick: Option<(u64, String)>,
    pub(super) ended: Option<End>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct End {
    pub(super) at_ms: u64,
    pub(super) how: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Wait,
    /// Start what the seat says.
    Start,
    /// In the place of what runs.
    Try(Version),
    /// Become the keeper that comes with what the seat says.
    HandOver,
    /// This program is a keeper.
    Prove,
    /// The version on trial is the good one.
    Keep,
    /// It is not, and this is why.
    TakeBack(String),
}

/// What is to be decided upon.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) seat: &'a Seat,
    pub(super) wish: Option<&'a Version>,
    pub(super) seen: Option<&'a Seen>,
    /// Whose program the keeper is.
    pub(super) keeper: &'a str,
    /// It may become another one's.
    pub(super) yields: bool,
    pub(super) policy: &'a Upgrade,
    pub(super) now_ms: u64,
}

pub(super) fn decide(facts: Facts<'_>) -> Step {
    let Some(seen) = facts.seen else { return Step::Start };
    match &facts.seat.trial {
        Some(version) => on_trial(&facts, seen, version),
        None => settled(&facts, seen),
    }
}

fn settled(facts: &Facts<'_>, seen: &Seen) -> Step {
    let Facts { seat, keeper, now_ms, policy, .. } = *facts;
    let (heir, ready) = (seat.heir(), seen.ready_ms.is_some());
    match &seen.ended {
        Some(end) if now_ms < end.at_ms + PAUSE_MS => return Step::Wait,
        Some(_) => return Step::Start,
        // One that starts is left to it: it would be ended in the middle. But not for ever: what is
        // wished for may be what mends it.
        None if !ready && now_ms < seen.started_ms + millis(policy.start) => return Step::Wait,
        None => {}
    }
    if ready && keeper != heir && facts.yields && seat.times_handed(heir) < HANDED_MAX {
        return Step::HandOver;
    }
    if let Some(wish) = facts.wish.filter(|wish| is_new(seat, wish)) {
        return Step::Try(wish.clone());
    }
    let proven = |ready_ms| now_ms >= ready_ms + keeper_probation_ms(facts.policy);
    if seat.times_handed(keeper) > 0 && seen.ready_ms.is_some_and(proven) {
        return Step::Prove;
    }
    Step::Wait
}

/// Each version is tried once; the good one is no wish.
fn is_new(seat: &Seat, wish: &Version) -> bool {
    let same = |other: &Version| other.release == wish.release;
    let judged = seat.verdict.as_ref().is_some_and(|verdict| same(&verdict.version));
    !judged && !seat.good.as_ref().is_some_and(same)
}

/// First it is the platform, kept by the keeper that there was; then its own keeper keeps it.
fn on_trial(facts: &Facts<'_>, seen: &Seen, version: &Version) -> Step {
    let Facts { seat, policy, now_ms, .. } = *facts;
    let kept_by_itself = facts.keeper == version.release;
    if seat.times_handed(&version.release) > 0 && !kept_by_itself {
        return Step::TakeBack("Its keeper ended in its probation".into());
    }
    if let Some(end) = &seen.ended {
        return Step::TakeBack(format!("It ended in its probation: {}", end.how));
    }
    let Some(ready_ms) = seen.ready_ms else {
        return if now_ms >= seen.started_ms + millis(policy.start) {
            let how = seen.sick.as_ref().map_or("nobody asked it", |(_, how)| how.as_str());
            let seconds = policy.start.as_secs();
            Step::TakeBack(format!("It was not ready after {seconds} s: {how}"))
        } else {
            Step::Wait
        };
    };
    match &seen.sick {
        Some((since_ms, how)) if now_ms >= since_ms + millis(policy.silence) => {
            Step::TakeBack(format!("It did not answer in its probation as it has to: {how}"))
        }
        None if kept_by_itself && now_ms >= ready_ms + keeper_probation_ms(policy) => Step::Keep,
        None if !kept_by_itself && now_ms >= ready_ms + millis(policy.probation) => {
            if facts.yields { Step::HandOver } else { Step::Keep }
        }
        _ => Step::Wait,
    }
}

/// What a keeper does when it comes: there may be a platform, which was started for a release.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Arrival {
    /// It is the right one.
    Adopt,
    /// There is none, or another one than shall be.
    Replace,
    /// A trial was interrupted: with what runs, if that is the good one.
    TakeBack { adopt: bool, why: String },
}

/// A trial of which nothing runs was interrupted; one that was never begun leaves the good one be.
pub(super) fn arrive(seat: &Seat, runs: Option<&str>) -> Arrival {
    let is = |version: Option<&Version>| {
        runs == Some(version.map_or(OWN, |version| version.release.as_str()))
    };
    match (is(seat.version()), &seat.trial) {
        (true, _) => Arrival::Adopt,
        (false, None) => Arrival::Replace,
        (false, Some(_)) if is(seat.good.as_ref()) => {
            let why = "The keeper ended before it was tried".into();
            Arrival::TakeBack { adopt: true, why }
        }
        (false, Some(_)) => {
            let why = "The machine or the keeper ended meanwhile".into();
            Arrival::TakeBack { adopt: false, why }
        }
    }
}

/// How long a version's own keeper has to keep it before it counts.
pub(super) fn keeper_probation_ms(policy: &Upgrade) -> u64 {
    millis(policy.probation) / 4
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::version::sample;
    use super::*;

    const POLICY: Upgrade = Upgrade {
        rehearsal: Duration::ZERO,
        start: Duration::from_mins(1),
        probation: Duration::from_mins(2),
        silence: Duration::from_secs(5),
        patience: Duration::ZERO,
    };

    fn seen() -> Seen {
        Seen { started_ms: 1_000, ready_ms: Some(2_000), sick: None, ended: None }
    }

    fn ended() -> Seen {
        let end = End { at_ms: 10_000, how: "exit status: 1".into() };
        Seen { ended: Some(end), ..seen() }
    }

    /// As the keeper of v1, which is the good one, sees it.
    fn facts<'a>(seat: &'a Seat, seen: &'a Seen, now_ms: u64) -> Facts<'a> {
        let (wish, keeper) = (None, "r1");
        Facts { seat, wish, seen: Some(seen), keeper, yields: true, policy: &POLICY, now_ms }
    }

    #[test]
    fn a_good_version_runs_until_another_is_wished_for() {
        let seat = Seat { good: Some(sample(1)), ..Seat::default() };
        let next = |wish: Option<u32>, seen: &Seen, now_ms| {
            let wish = wish.map(sample);
            decide(Facts { wish: wish.as_ref(), ..facts(&seat, seen, now_ms) })
        };
        assert_eq!(decide(Facts { seen: None, ..facts(&seat, &seen(), 0) }), Step::Start);
        assert_eq!(next(None, &seen(), 1_000_000), Step::Wait);
        assert_eq!(next(Some(1), &seen(), 1_000_000), Step::Wait, "it is there");
        assert_eq!(next(Some(2), &seen(), 3_000), Step::Try(sample(2)));
        let mute = Seen { ready_ms: None, ..seen() };
        assert_eq!(next(Some(2), &mute, 60_999), Step::Wait, "it starts");
        assert_eq!(next(None, &mute, 61_000), Step::Wait);
        assert_eq!(next(Some(2), &mute, 61_000), Step::Try(sample(2)), "it may mend it");
        assert_eq!(next(None, &ended(), 10_500), Step::Wait, "a pause");
        assert_eq!(next(None, &ended(), 11_000), Step::Start);
        assert_eq!(next(Some(2), &ended(), 11_000), Step::Start, "one thing at a time");
    }

    #[test]
    fn a_version_on_trial_is_kept_or_taken_back_with_the_reason() {
        let seat = Seat { good: Some(sample(1)), ..Seat::default() }.on_trial(sample(2));
        let sick = |since_ms| Seen { sick: Some((since_ms, "status 500".into())), ..seen() };
        let mute = Seen { ready_ms: None, ..sick(1_000) };
        // What is seen, when, and why it is taken back; "" where it passes, none while it goes on.
        let cases = [
            (mute.clone(), 60_999, None),
            (mute, 61_000, Some("not ready after 60 s: status 500")),
            (seen(), 121_999, None),
            (seen(), 122_000, Some("")),
            (sick(50_000), 54_999, None),
            (sick(50_000), 55_000, Some("status 500")),
            (sick(121_000), 122_000, None),
            (ended(), 10_000, Some("exit status: 1")),
        ];
        for (seen, now_ms, expected) in cases {
            match (decide(facts(&seat, &seen, now_ms)), expected) {
                (Step::Wait, None) | (Step::HandOver, Some("")) => {}
                (Step::TakeBack(why), Some(expected)) => assert!(why.contains(expected), "{why}"),
                (step, expected) => panic!("{step:?}, not {expected:?}, at {now_ms}"),
            }
        }
        let seen = seen();
        let stays = Facts { yields: false, ..facts(&seat, &seen, 122_000) };
        assert_eq!(decide(stays), Step::Keep, "whoever does something else beside");
    }

    #[test]
    fn a_version_is_good_only_once_its_own_keeper_has_kept_it() {
        let seat = Seat { good: Some(sample(1)), ..Seat::default() }.on_trial(sample(2));
        let seat = seat.handed_over();
        let seen = seen();
        let by = |keeper, now_ms| decide(Facts { keeper, ..facts(&seat, &seen, now_ms) });
        assert_eq!(by("r2", 31_999), Step::Wait);
        assert_eq!(by("r2", 32_000), Step::Keep);
        for keeper in ["r1", OWN] {
            let Step::TakeBack(why) = by(keeper, 3_000) else { panic!("{keeper}") };
            assert!(why.contains("Its keeper ended"), "{why}");
        }
        assert_eq!(seat.clone().kept().times_handed("r2"), 0);
        assert_eq!(seat.taken_back("no".into()).times_handed("r2"), 0);
    }

    #[test]
    fn another_program_becomes_the_good_one_s_keeper_but_not_for_ever() {
        let mut seat = Seat { good: Some(sample(1)), ..Seat::default() };
        let seen = seen();
        let (wish, own) = (sample(2), OWN);
        let next = |seat: &Seat, keeper, now_ms| {
            decide(Facts { wish: Some(&wish), keeper, ..facts(seat, &seen, now_ms) })
        };
        for _ in 0..HANDED_MAX {
            assert_eq!(next(&seat, own, 3_000), Step::HandOver, "before anything else");
            let stays = Facts { keeper: own, yields: false, ..facts(&seat, &seen, 3_000) };
            assert_eq!(decide(stays), Step::Wait);
            seat = seat.handed_over();
        }
        assert_eq!(next(&seat, own, 3_000), Step::Try(sample(2)), "it keeps as it can");
        assert_eq!(decide(facts(&seat, &seen, 31_999)), Step::Wait);
        assert_eq!(decide(facts(&seat, &seen, 32_000)), Step::Prove);
        assert_eq!(next(&seat.proven(), own, 3_000), Step::HandOver);

        // What was before a good version was seen to be one is the program that was started.
        let seat = Seat::default();
        assert_eq!(next(&seat, "r1", 3_000), Step::HandOver);
        assert_eq!(next(&seat, own, 3_000), Step::Try(sample(2)));
    }

    #[test]
    fn who_comes_adopts_what_is_right_and_takes_back_what_was_interrupted() {
        let good = Seat { good: Some(sample(1)), ..Seat::default() };
        let trial = good.clone().on_trial(sample(2));
        let cases = [
            (&good, Some("r1"), "Adopt"),
            (&good, None, "Replace"),
            (&good, Some(OWN), "Replace"),
            (&Seat::default(), Some(OWN), "Adopt"),
            (&trial, Some("r2"), "Adopt"),
            (&trial, Some("r1"), "adopt: true"),
            (&trial, None, "adopt: false"),
            (&trial, Some(OWN), "adopt: false"),
        ];
        for (seat, runs, expected) in cases {
            let arrival = format!("{:?}", arrive(seat, runs));
            assert!(arrival.contains(expected), "{runs:?}: {arrival}");
        }
    }
}
