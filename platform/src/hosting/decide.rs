//! What the keeper does next, from what it sees. Pure; times are milliseconds of one clock.

use super::{Seat, Version};
use crate::config::Upgrade;
use std::time::Duration;

/// A platform that ended is not started again sooner.
const PAUSE_MS: u64 = 1_000;

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
    /// The version on trial is the good one.
    Keep,
    /// It is not, and this is why.
    TakeBack(String),
}

pub(super) fn decide(
    seat: &Seat,
    wish: Option<&Version>,
    seen: Option<&Seen>,
    policy: &Upgrade,
    now_ms: u64,
) -> Step {
    let Some(seen) = seen else { return Step::Start };
    match &seat.trial {
        Some(_) => on_trial(seen, policy, now_ms),
        None => settled(seat, wish, seen, now_ms),
    }
}

fn settled(seat: &Seat, wish: Option<&Version>, seen: &Seen, now_ms: u64) -> Step {
    match (&seen.ended, wish.filter(|wish| is_new(seat, wish))) {
        (Some(end), _) if now_ms < end.at_ms + PAUSE_MS => Step::Wait,
        (Some(_), _) => Step::Start,
        // One that starts is left to it: it would be ended in the middle.
        (None, Some(wish)) if seen.ready_ms.is_some() => Step::Try(wish.clone()),
        (None, _) => Step::Wait,
    }
}

/// Each version is tried once; the good one is no wish.
fn is_new(seat: &Seat, wish: &Version) -> bool {
    let same = |other: &Version| other.release == wish.release;
    let judged = seat.verdict.as_ref().is_some_and(|verdict| same(&verdict.version));
    !judged && !seat.good.as_ref().is_some_and(same)
}

fn on_trial(seen: &Seen, policy: &Upgrade, now_ms: u64) -> Step {
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
        None if now_ms >= ready_ms + millis(policy.probation) => Step::Keep,
        _ => Step::Wait,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::version::sample;
    use super::*;

    const POLICY: Upgrade = Upgrade {
        rehearsal: Duration::ZERO,
        start: Duration::from_mins(1),
        probation: Duration::from_mins(2),
        silence: Duration::from_secs(5),
    };

    fn seen() -> Seen {
        Seen { started_ms: 1_000, ready_ms: Some(2_000), sick: None, ended: None }
    }

    fn ended() -> Seen {
        let end = End { at_ms: 10_000, how: "exit status: 1".into() };
        Seen { ended: Some(end), ..seen() }
    }

    #[test]
    fn a_good_version_runs_until_another_is_wished_for() {
        let seat = Seat { good: Some(sample(1)), ..Seat::default() };
        let next = |wish: Option<u32>, seen: Option<Seen>, now_ms| {
            decide(&seat, wish.map(sample).as_ref(), seen.as_ref(), &POLICY, now_ms)
        };
        assert_eq!(next(None, None, 0), Step::Start);
        assert_eq!(next(None, Some(seen()), 1_000_000), Step::Wait);
        assert_eq!(next(Some(1), Some(seen()), 1_000_000), Step::Wait, "it is there");
        assert_eq!(next(Some(2), Some(seen()), 3_000), Step::Try(sample(2)));
        assert_eq!(next(Some(2), Some(Seen { ready_ms: None, ..seen() }), 3_000), Step::Wait);
        assert_eq!(next(None, Some(ended()), 10_500), Step::Wait, "a pause");
        assert_eq!(next(None, Some(ended()), 11_000), Step::Start);
        assert_eq!(next(Some(2), Some(ended()), 11_000), Step::Start, "one thing at a time");
    }

    #[test]
    fn a_version_on_trial_is_kept_or_taken_back_with_the_reason() {
        let seat = Seat { good: Some(sample(1)), ..Seat::default() }.on_trial(sample(2));
        let sick = |since_ms| Seen { sick: Some((since_ms, "status 500".into())), ..seen() };
        let mute = Seen { ready_ms: None, ..sick(1_000) };
        // What is seen, when, and why it is taken back; "" where it is kept, none while it goes on.
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
            match (decide(&seat, None, Some(&seen), &POLICY, now_ms), expected) {
                (Step::Wait, None) | (Step::Keep, Some("")) => {}
                (Step::TakeBack(why), Some(expected)) => assert!(why.contains(expected), "{why}"),
                (step, expected) => panic!("{step:?}, not {expected:?}, at {now_ms}"),
            }
        }
    }

    #[test]
    fn each_version_is_tried_once() {
        let seat = Seat { good: Some(sample(1)), ..Seat::default() }.on_trial(sample(2));
        let back = seat.clone().taken_back("it did".into());
        assert_eq!((&back.good, &back.trial), (&Some(sample(1)), &None));
        let verdict = Verdict { version: sample(2), failure: Some("it did".into()) };
        assert_eq!(back.verdict, Some(verdict));
        let kept = seat.kept();
        assert_eq!((&kept.good, &kept.trial), (&Some(sample(2)), &None));
        for seat in [back, kept] {
            let next = decide(&seat, Some(&sample(2)), Some(&seen()), &POLICY, 3_000);
            assert_eq!(next, Step::Wait);
        }
        let settled = Seat::default().taken_back("nothing is on trial".into());
        assert_eq!(settled, Seat::default());
    }
}
