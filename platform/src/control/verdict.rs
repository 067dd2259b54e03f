//! Did the candidate boot, and did it stay? A pure reading of what the cell observed.

use super::slots::Place;
use lathe_dynos::spec::{DynoState, End, Observed};
use std::time::Duration;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Verdict {
    /// Some web dyno is still starting.
    Waiting,
    /// Every web dyno is up, and not yet for long enough.
    OnProbation { until_ms: u64 },
    /// Every web dyno listens on its port, and has for as long as it shall.
    Boots,
    /// A web dyno ended instead.
    Fails { dyno: String, end: Option<End> },
}

/// For how long all web dynos have to be up together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probation {
    pub(super) length: Duration,
    pub(super) now_ms: u64,
}

/// Web dynos decide: every one has to listen on `$PORT`. The first that ends instead, before or
/// during its probation, decides against the release; it is not given a second try, because nobody
/// depends on it alone yet and the pusher is waiting. A release without web dynos boots by
/// definition.
pub(super) fn verdict(candidate: &[Place], observed: &Observed, probation: Probation) -> Verdict {
    let (mut boots, mut up_since_ms) = (true, 0);
    for place in candidate.iter().filter(|place| place.is_web()) {
        match observed.dynos.get(&place.slot()) {
            Some(dyno) if dyno.state == DynoState::Crashed || dyno.crashes > 0 => {
                return Verdict::Fails { dyno: place.dyno_name(), end: dyno.last_end.clone() };
            }
            Some(dyno) if dyno.state == DynoState::Up => {
                up_since_ms = up_since_ms.max(dyno.since_ms);
            }
            _ => boots = false,
        }
    }
    let length_ms = u64::try_from(probation.length.as_millis()).unwrap_or(u64::MAX);
    let until_ms = up_since_ms.saturating_add(length_ms);
    match boots {
        false => Verdict::Waiting,
        true if length_ms > 0 && probation.now_ms < until_ms => Verdict::OnProbation { until_ms },
        true => Verdict::Boots,
    }
}
