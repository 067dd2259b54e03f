//! Which dyno a request tries next: at random among those not in quarantine, by their weights.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// First pause when every dyno is in quarantine; it doubles up to `MAX_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Connect to the dyno at this index.
    Try(usize),
    /// All are in quarantine: wait, then try one all the same.
    Pause(Duration),
    /// Every allowed try has failed.
    OutOfTries,
    OutOfTime,
}

/// What a request has been through so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) tries: u32,
    pub(crate) pauses: u32,
    /// Whether the last step was a pause, which earns one try of a dyno in quarantine.
    pub(crate) rested: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) tries: u32,
    pub(crate) budget: Duration,
}

/// The next step of a request that has been connecting for `elapsed`. `weights` has one entry for
/// each dyno, 0 for one in quarantine; `random` is uniform.
pub(crate) fn next(
    weights: &[u32],
    attempts: Attempts,
    elapsed: Duration,
    limits: Limits,
    random: u64,
) -> Step {
    if attempts.tries >= limits.tries {
        return Step::OutOfTries;
    }
    if elapsed >= limits.budget || weights.is_empty() {
        return Step::OutOfTime;
    }
    if let Some(index) = drawn(weights, random) {
        return Step::Try(index);
    }
    if attempts.rested {
        return Step::Try(below(random, weights.len()));
    }
    let pause = FIRST_PAUSE.saturating_mul(1 << attempts.pauses.min(16)).min(MAX_PAUSE);
    Step::Pause(pause.min(limits.budget.saturating_sub(elapsed)))
}

/// An index, each as probable as its weight is large; none when all weigh nothing.
fn drawn(weights: &[u32], random: u64) -> Option<usize> {
    let total = weights.iter().map(|weight| *weight as usize).sum();
    let mut left = below(random, total);
    weights.iter().position(|weight| {
        let here = left < *weight as usize;
        left = left.saturating_sub(*weight as usize);
        here
    })
}

/// A uniform number below `bound` from a uniform 64-bit one: multiply and keep the high half
/// (Lemire 2019); the bias is below 2^-50 for any number of dynos.
fn below(random: u64, bound: usize) -> usize {
    let high = (u128::from(random) * bound as u128) >> 64;
    usize::try_from(high).unwrap_or_default()
}

/// Random numbers for choosing dynos, without a lock: `SplitMix64` (Steele, Lea and Flood 2014).
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn roll(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { tries: 10, budget: Duration::from_secs(75) };

    fn after(tries: u32, pauses: u32, rested: bool) -> Attempts {
        Attempts { tries, pauses, rested }
    }

    #[test]
    fn steps() {
        let (zero, late) = (Duration::ZERO, Duration::from_secs(75));
        let ms = Duration::from_millis;
        for (weights, attempts, elapsed, expected) in [
            (&[1][..], after(0, 0, false), zero, Step::Try(0)),
            (&[0, 1], after(1, 0, false), zero, Step::Try(1)),
            (&[0, 0], after(1, 0, false), zero, Step::Pause(ms(100))),
            (&[0, 0], after(1, 1, false), zero, Step::Pause(ms(200))),
            (&[0, 0], after(1, 9, false), zero, Step::Pause(ms(5000))),
            (&[0, 0], after(1, 9, false), ms(74_950), Step::Pause(ms(50))),
            (&[0], after(1, 1, true), zero, Step::Try(0)),
            (&[1], after(10, 0, false), zero, Step::OutOfTries),
            (&[1], after(0, 0, false), late, Step::OutOfTime),
            (&[], after(0, 0, false), zero, Step::OutOfTime),
        ] {
            let step = next(weights, attempts, elapsed, LIMITS, 7);
            assert_eq!(step, expected, "{weights:?} {attempts:?} {elapsed:?}");
        }
    }

    /// A canary with a tenth of the requests, and two others: chi squared with 2 degrees of freedom
    /// below 13.8 (p = 0.001).
    #[test]
    fn weights_are_shares() {
        let (dice, weights) = (Dice::new(7), [9, 9, 2]);
        let mut hits = [0_f64; 3];
        for _ in 0..10_000 {
            hits[drawn(&weights, dice.roll()).unwrap()] += 1.0;
        }
        let expected = weights.map(|weight| f64::from(weight) * 500.0);
        let terms = hits.iter().zip(expected).map(|(n, wanted)| (n - wanted).powi(2) / wanted);
        assert!(terms.sum::<f64>() < 13.8, "{hits:?}");
        assert_eq!(drawn(&[0, 0], 7), None);
    }

    /// 10,000 requests to 4 dynos: chi squared with 3 degrees of freedom below 16.3 (p = 0.001).
    #[test]
    fn the_choice_is_uniform() {
        let dice = Dice::new(42);
        let mut hits = [0_f64; 4];
        for _ in 0..10_000 {
            if let Step::Try(index) =
                next(&[1; 4], Attempts::default(), Duration::ZERO, LIMITS, dice.roll())
            {
                hits[index] += 1.0;
            }
        }
        let chi_squared: f64 = hits.iter().map(|n| (n - 2500.0).powi(2) / 2500.0).sum();
        assert!(chi_squared < 16.3, "{hits:?} {chi_squared}");
    }

    proptest! {
        #[test]
        fn a_dyno_in_quarantine_is_left_alone_while_another_is_free(
            weights in prop::collection::vec(0_u32..4, 1..50),
            random: u64,
        ) {
            let step = next(&weights, Attempts::default(), Duration::ZERO, LIMITS, random);
            match step {
                Step::Try(index) => prop_assert!(weights[index] > 0),
                Step::Pause(_) => prop_assert!(weights.iter().all(|weight| *weight == 0)),
                Step::OutOfTries | Step::OutOfTime => prop_assert!(false),
            }
        }
    }
}
