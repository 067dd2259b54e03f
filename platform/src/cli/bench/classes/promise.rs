//! What weights and quotas promise dynos that all want as much as they can get. Pure.

/// A dyno that wants all it may have.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Hog {
    /// Against the others, in any unit.
    pub(super) weight: f64,
    /// CPUs that it can use at most: its threads, its quota.
    pub(super) cap: f64,
}

/// CPUs for each: in proportion to the weights, and what a capped one leaves to the others
/// likewise, until nothing is left or nobody wants more (weighted max-min fairness).
pub(super) fn shares(cpus: f64, hogs: &[Hog]) -> Vec<f64> {
    let mut given: Vec<Option<f64>> = vec![None; hogs.len()];
    loop {
        let taken: f64 = given.iter().flatten().sum();
        let hungry = || hogs.iter().zip(&given).filter(|(_, given)| given.is_none());
        let weights: f64 = hungry().map(|(hog, _)| hog.weight).sum();
        let each = (cpus - taken).max(0.0) / weights.max(f64::MIN_POSITIVE);
        if hungry().all(|(hog, _)| hog.weight * each < hog.cap) {
            let fair = |(hog, given): (&Hog, Option<f64>)| given.unwrap_or(hog.weight * each);
            return hogs.iter().zip(given).map(fair).collect();
        }
        for (hog, given) in hogs.iter().zip(&mut given) {
            if given.is_none() && hog.weight * each >= hog.cap {
                *given = Some(hog.cap);
            }
        }
    }
}

/// What is to be said of a promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Holds,
    NotHeld,
    /// Not held, but others than the dynos had the CPUs, too.
    Disturbed,
}

/// A tenth more or less is what a promise means.
const TOLERANCE: f64 = 0.1;
/// CPUs of others that disturb nobody.
pub(super) const DISTURBANCE: f64 = 0.1;

impl Verdict {
    /// `missing`: CPUs that others had meanwhile, on this machine or on its host.
    pub(super) fn of(promised: f64, measured: f64, missing: f64) -> Self {
        match () {
            () if (measured / promised - 1.0).abs() <= TOLERANCE => Self::Holds,
            () if missing > DISTURBANCE => Self::Disturbed,
            () => Self::NotHeld,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::NotHeld => "not held",
            Self::Disturbed => "disturbed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_one_leaves_the_others_share() {
        let hogs = |table: &[(f64, f64)]| -> Vec<Hog> {
            table.iter().map(|(weight, cap)| Hog { weight: *weight, cap: *cap }).collect()
        };
        for (cpus, table, expected) in [
            (2.0, &[(64.0, 1.0)][..], &[1.0][..]),
            (1.0, &[(64.0, 1.0), (128.0, 1.0), (256.0, 1.0)], &[1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]),
            (2.0, &[(1.0, 1.0), (1.0, 0.5), (6.0, 1.0)], &[0.5, 0.5, 1.0]),
            (4.0, &[(1.0, 1.0), (9.0, 1.0)], &[1.0, 1.0]),
            (1.0, &[], &[]),
        ] {
            let given = shares(cpus, &hogs(table));
            assert_eq!(given.len(), expected.len());
            for (given, expected) in given.iter().zip(expected) {
                assert!((given - expected).abs() < 1e-9, "{table:?}: {given} is not {expected}");
            }
        }
    }

    #[test]
    fn a_promise_is_judged_by_what_was_measured() {
        for (promised, measured, missing, verdict) in [
            (0.25, 0.24, 0.0, Verdict::Holds),
            (0.25, 0.2, 0.0, Verdict::NotHeld),
            (0.25, 0.2, 1.0, Verdict::Disturbed),
            (0.25, 0.26, 1.0, Verdict::Holds),
        ] {
            assert_eq!(Verdict::of(promised, measured, missing), verdict);
        }
    }

    proptest! {
        #[test]
        fn all_is_given_out_and_nobody_gets_more_than_he_can_use(
            cpus in 0.1..64.0,
            table in proptest::collection::vec((1.0..2048.0, 0.01..8.0), 1..40),
        ) {
            let hogs: Vec<Hog> =
                table.iter().map(|(weight, cap)| Hog { weight: *weight, cap: *cap }).collect();
            let given = shares(cpus, &hogs);
            let wanted: f64 = hogs.iter().map(|hog| hog.cap).sum();
            prop_assert!((given.iter().sum::<f64>() - cpus.min(wanted)).abs() < 1e-6);
            for (hog, given) in hogs.iter().zip(&given) {
                prop_assert!(*given <= hog.cap + 1e-9);
            }
        }
    }
}
