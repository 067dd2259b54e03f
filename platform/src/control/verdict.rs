//! Did the candidate boot? A pure reading of what the cell observed.

use super::slots::Place;
use lathe_dynos::spec::{DynoState, End, Observed};

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Verdict {
    /// Some web dyno is still starting.
    Waiting,
    /// Every web dyno listens on its port.
    Boots,
    /// A web dyno ended instead.
    Fails { dyno: String, end: Option<End> },
}

/// Web dynos decide: every one has to listen on `$PORT`. The first that ends instead decides
/// against the release; it is not given a second try, because nobody depends on it yet and the
/// pusher is waiting. A release without web dynos boots by definition.
pub(super) fn verdict(candidate: &[Place], observed: &Observed) -> Verdict {
    let mut boots = true;
    for place in candidate.iter().filter(|place| place.is_web()) {
        match observed.dynos.get(&place.slot()) {
            Some(dyno) if dyno.state == DynoState::Crashed || dyno.crashes > 0 => {
                return Verdict::Fails { dyno: place.dyno_name(), end: dyno.last_end.clone() };
            }
            Some(dyno) if dyno.state == DynoState::Up => {}
            _ => boots = false,
        }
    }
    if boots { Verdict::Boots } else { Verdict::Waiting }
}
