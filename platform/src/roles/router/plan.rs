//! Which routers shall be: one that fits, and none of the others once it serves. Pure.

use lathe_dynos::spec::DynoId;
use std::time::Duration;

/// A router that has not said a word for so long, on a busy machine too, says none any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// A router that ends sooner counts against the next one's start.
const SOON: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A router as it is seen now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) id: DynoId,
    pub(super) state: State,
    /// It is of this program, and listens where it shall.
    pub(super) fits: bool,
    /// Since it was started or we were, whichever is less.
    pub(super) age: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It runs; that is all we know.
    Silent,
    Serving,
    /// It accepts nothing any more.
    Leaving,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Start,
    /// Another one serves: finish what is in flight.
    Relieve(DynoId),
    /// It does not answer, and does nothing for anybody.
    End(DynoId),
    /// Account for it and forget it.
    Bury(DynoId),
}

/// What is to be done. `seen` is everything there is, the oldest first.
pub(super) fn plan(seen: &[Seen]) -> Vec<Act> {
    let mut acts = Vec::new();
    let fitting = || seen.iter().rev().filter(|router| router.fits);
    let chosen = fitting().find(|router| router.state == State::Serving);
    let coming = fitting().any(|one| one.state == State::Silent && one.age < PATIENCE);
    for router in seen {
        let is_chosen = chosen.is_some_and(|chosen| chosen.id == router.id);
        let mute = router.fits && router.age >= PATIENCE;
        match router.state {
            State::Ended => acts.push(Act::Bury(router.id)),
            State::Silent if mute => acts.push(Act::End(router.id)),
            State::Silent | State::Serving if chosen.is_some() && !is_chosen => {
                acts.push(Act::Relieve(router.id));
            }
            State::Silent | State::Serving | State::Leaving => {}
        }
    }
    if chosen.is_none() && !coming {
        acts.push(Act::Start);
    }
    acts
}

/// How many routers in a row have ended soon, after one more end.
pub(super) fn ended(soon: u32, age: Duration) -> u32 {
    if age < SOON { soon.saturating_add(1) } else { 0 }
}

/// How long a start has to wait when `soon` routers in a row have ended soon; the first time there
/// is nothing to wait for.
pub(super) fn pause(soon: u32) -> Duration {
    match soon.checked_sub(2) {
        None => Duration::ZERO,
        Some(more) => PAUSE.saturating_mul(1 << more.min(16)).min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Ended, Leaving, Serving, Silent};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn seen(number: usize, state: State, fits: bool, age_s: u64) -> Seen {
        let id = DynoId(Uuid::from_u128(number as u128));
        Seen { id, state, fits, age: Duration::from_secs(age_s) }
    }

    fn acts(routers: &[(State, bool, u64)]) -> Vec<Act> {
        let routers = routers.iter().enumerate();
        plan(
            &routers
                .map(|(n, (state, fits, age))| seen(n, *state, *fits, *age))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn one_comes_before_another_goes() {
        let id = |number: u128| DynoId(Uuid::from_u128(number));
        for (what, routers, expected) in [
            ("none", &[][..], vec![Act::Start]),
            ("all is well", &[(Serving, true, 9)], vec![]),
            ("it has just been started", &[(Silent, true, 0)], vec![]),
            ("killed", &[(Ended, true, 9)], vec![Act::Bury(id(0)), Act::Start]),
            ("an upgrade begins", &[(Serving, false, 9)], vec![Act::Start]),
            ("the new one comes", &[(Serving, false, 9), (Silent, true, 0)], vec![]),
            (
                "the new one serves",
                &[(Serving, false, 9), (Serving, true, 1)],
                vec![Act::Relieve(id(0))],
            ),
            ("the old one leaves", &[(Leaving, false, 9), (Serving, true, 1)], vec![]),
            ("told to leave, and back", &[(Leaving, true, 9)], vec![Act::Start]),
            ("of another version", &[(Silent, false, 40)], vec![Act::Start]),
            ("it hangs", &[(Silent, true, 40)], vec![Act::End(id(0)), Act::Start]),
            ("two of a kind", &[(Serving, true, 9), (Serving, true, 8)], vec![Act::Relieve(id(0))]),
        ] {
            assert_eq!(acts(routers), expected, "{what}");
        }
    }

    #[test]
    fn who_ends_again_and_again_is_started_less_and_less_often() {
        let mut soon = 0;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            soon = ended(soon, Duration::from_secs(1));
            pauses.push(pause(soon).as_millis());
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        assert_eq!(ended(soon, Duration::from_mins(1)), 0);
    }

    proptest! {
        /// Whatever is there, the last one that serves is never told to go.
        #[test]
        fn somebody_goes_on_serving(routers in prop::collection::vec((0..4usize, any::<bool>(), 0..60u64), 0..8)) {
            let states = [Silent, Serving, Leaving, Ended];
            let routers: Vec<_> = routers.into_iter().map(|(n, fits, age)| (states[n], fits, age)).collect();
            let acts = acts(&routers);
            let gone = |n: usize| {
                let id = DynoId(Uuid::from_u128(n as u128));
                acts.contains(&Act::Relieve(id)) || acts.contains(&Act::End(id))
            };
            let serving: Vec<usize> = (0..routers.len()).filter(|n| routers[*n].0 == Serving).collect();
            prop_assert!(serving.is_empty() || serving.iter().any(|n| !gone(*n)));
            let coming = routers.iter().any(|(state, fits, age)| *fits && (*state == Serving || (*state == Silent && *age < 30)));
            prop_assert!(coming || acts.contains(&Act::Start));
        }
    }
}
