//! Did the candidate boot, and did it stay? A pure reading of what the cell observed.

use super::slots::Place;
use super::wanted::Lack;
use lathe_dynos::checks::Finding;
use lathe_dynos::clock::millis;
use lathe_dynos::spec::{DynoState, End, Observed};
use std::time::Duration;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Verdict {
    /// Some web dyno is still starting, or not ready, for which it has until then.
    Waiting { until_ms: Option<u64> },
    /// Every web dyno is up, and not yet for long enough.
    OnProbation { until_ms: u64 },
    /// Every web dyno listens on its port, and has for as long as it shall.
    Boots,
    /// A web dyno has come to something else instead.
    Fails { dyno: String, why: Failure },
}

/// What a web dyno has come to.
#[derive(Clone, PartialEq, Debug)]
pub enum Failure {
    /// There can be none.
    Lacks(Lack),
    Ended(Option<End>),
    /// Up, but not ready in time.
    NotReady,
    /// Up, and then its health check failed.
    Ailing(Finding),
}

/// For how long all web dynos have to be up together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probation {
    pub(super) length: Duration,
    /// How long one that is up may take to be ready.
    pub(super) ready_within: Duration,
    pub(super) now_ms: u64,
}

/// Web dynos decide: every one has to listen on `$PORT`, and to be well and ready. The first that ends
/// instead, or is not, before or during its probation, decides against the release; it is not given a second try, because nobody
/// depends on it alone yet and the pusher is waiting. A release without web dynos boots by
/// definition.
pub(super) fn verdict(candidate: &[Place], observed: &Observed, probation: Probation) -> Verdict {
    let (mut boots, mut up_since_ms, mut ready_by_ms) = (true, 0, None);
    let ready_within_ms = millis(probation.ready_within);
    for place in candidate.iter().filter(|place| place.is_web()) {
        let fails = |why| Verdict::Fails { dyno: place.dyno_name(), why };
        match observed.dynos.get(&place.slot()) {
            Some(dyno) if dyno.state == DynoState::Crashed || dyno.crashes > 0 => {
                return fails(Failure::Ended(dyno.last_end.clone()));
            }
            Some(dyno) if dyno.state == DynoState::Up && !dyno.ready => {
                let by_ms = dyno.since_ms.saturating_add(ready_within_ms);
                if by_ms <= probation.now_ms {
                    return fails(Failure::NotReady);
                }
                ready_by_ms = Some(ready_by_ms.map_or(by_ms, |other: u64| other.min(by_ms)));
                boots = false;
            }
            Some(dyno) if dyno.state == DynoState::Up => {
                if let Some(finding) = &dyno.ailing {
                    return fails(Failure::Ailing(finding.clone()));
                }
                up_since_ms = up_since_ms.max(dyno.since_ms);
            }
            _ => boots = false,
        }
    }
    let length_ms = millis(probation.length);
    let until_ms = up_since_ms.saturating_add(length_ms);
    match boots {
        false => Verdict::Waiting { until_ms: ready_by_ms },
        true if length_ms > 0 && probation.now_ms < until_ms => Verdict::OnProbation { until_ms },
        true => Verdict::Boots,
    }
}
