//! The decision about one slot: what is wanted of it against what is tracked, at a given time. Pure
//! and level-triggered: asked again in the same situation it answers the same.

use crate::checks::Vital;
use crate::clock::millis;
use crate::restart;
use crate::spec::{Desired, DynoId, EndCause, Slot, Wanted};
use crate::tracked::{Action, Container, Phase, Place, Probe, Tracked};

/// Starts under way at once; more would only make each of them slower.
pub const STARTS_MAX: usize = 16;
/// SIGKILL is sent again until the end is known.
const KILL_AGAIN_MS: u64 = 5_000;
/// The port of a booting dyno is looked at after a tenth of its age, within these bounds: a fast
/// app is up at once, a slow one costs little.
const PROBE_MIN_MS: u64 = 20;
const PROBE_MAX_MS: u64 = 500;

/// What one slot comes to.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Verdict {
    /// To be done at once.
    pub(crate) actions: Vec<Action>,
    /// When to ask again if no fact arrives before; Unix time in milliseconds.
    pub(crate) wake_ms: Option<u64>,
    /// It is wanted and empty, and may be filled from then on.
    pub(crate) vacant_ms: Option<u64>,
    /// A start in it is under way.
    pub(crate) launching: bool,
}

impl Verdict {
    fn at(&mut self, due_ms: u64, now_ms: u64, action: Action) {
        if due_ms <= now_ms {
            self.actions.push(action);
        } else {
            self.wake_ms = Some(self.wake_ms.map_or(due_ms, |wake| wake.min(due_ms)));
        }
    }
}

/// Brings what runs in one slot nearer to what is wanted of it. `Desired` of generation 0 means
/// that nothing is known yet about what is wanted: then nothing is started and nothing is stopped.
///
/// No slot depends on another, but for the number of starts under way ([`STARTS_MAX`]).
pub(crate) fn converge(slot: &Slot, desired: &Desired, tracked: &Tracked, now_ms: u64) -> Verdict {
    let mut verdict = Verdict::default();
    let known = desired.generation > 0;
    let wanted = desired.dynos.contains_key(slot);
    let place = tracked.places.get(slot);
    let mut taken = false;
    for (id, container) in place.into_iter().flat_map(|place| place.containers(&tracked.containers))
    {
        let current = place.is_some_and(|place| place.current == Some(id));
        let wanted = current && (wanted || !known);
        if let Some((due_ms, action)) = next(id, container, wanted, now_ms) {
            verdict.at(due_ms, now_ms, action);
        }
        if wanted && !container.ended() && !container.sampling && container.address.is_some() {
            let metrics = desired.dynos.get(slot).is_some_and(|wanted| wanted.metrics);
            verdict.at(container.sample_due_ms, now_ms, Action::Sample { id, metrics });
        }
        if let Some(wish) = desired.dynos.get(slot).filter(|_| current) {
            look_after(&mut verdict, id, container, wish, now_ms);
        }
        taken |= !container.ended();
        verdict.launching |= matches!(container.phase, Phase::Launching { .. });
    }
    // Never two in one slot, not even while the first is on its way out.
    if known && wanted && !taken {
        verdict.vacant_ms = place.map_or(Some(0), start_due_ms);
    }
    verdict
}

/// A dyno that is up is asked whether it is still well, and ready.
fn look_after(
    verdict: &mut Verdict,
    id: DynoId,
    container: &Container,
    wanted: &Wanted,
    now_ms: u64,
) {
    if !matches!(container.phase, Phase::Up { .. }) || container.port.is_none() {
        return;
    }
    let failures = wanted.checks.failures;
    for vital in Vital::BOTH.into_iter().filter(|vital| wanted.checks.of(*vital).is_some()) {
        if let Some(due_ms) = container.pulse.due_ms(vital, &wanted.checks) {
            verdict.at(due_ms, now_ms, Action::Check { id, vital, failures });
        }
    }
}

/// The next thing to do about one container, and when.
fn next(id: DynoId, container: &Container, wanted: bool, now_ms: u64) -> Option<(u64, Action)> {
    match &container.phase {
        Phase::Booting { .. } | Phase::Up { .. } if !wanted => {
            Some((now_ms, Action::Terminate { id }))
        }
        Phase::Booting { .. } | Phase::Up { .. } if container.vast => {
            Some((now_ms, Action::Kill { id, cause: EndCause::OutOfMemory }))
        }
        Phase::Booting { from_ms, probe, .. } => {
            let late_ms = from_ms.saturating_add(millis(container.boot_timeout));
            if late_ms <= now_ms {
                return Some((now_ms, Action::Kill { id, cause: EndCause::BootTimeout }));
            }
            let due_ms = match probe {
                Probe::Never => now_ms,
                Probe::UnderWay => late_ms,
                Probe::At { ms } => {
                    let age_ms = ms.saturating_sub(*from_ms);
                    late_ms.min(ms + (age_ms / 10).clamp(PROBE_MIN_MS, PROBE_MAX_MS))
                }
            };
            Some((due_ms, Action::Probe { id }))
        }
        Phase::Launching { .. } | Phase::Doubtful { .. } | Phase::Up { .. } => None,
        Phase::Stopping { from_ms, resend_ms } => {
            let late_ms = from_ms.saturating_add(millis(container.stop_grace));
            match resend_ms {
                Some(due_ms) if *due_ms < late_ms && now_ms < late_ms => {
                    Some((*due_ms, Action::Terminate { id }))
                }
                _ => Some((late_ms, Action::Kill { id, cause: EndCause::Killed })),
            }
        }
        Phase::Killing { sent_ms, cause, .. } => {
            Some((sent_ms + KILL_AGAIN_MS, Action::Kill { id, cause: cause.clone() }))
        }
        // The record of the last crash is kept until its slot is filled again: from it a
        // restarted cell knows how long to wait.
        Phase::Ended { recorded, forget_ms, .. } => {
            let forget = *recorded && !wanted;
            forget_ms.filter(|_| forget).map(|due_ms| (due_ms, Action::Forget { id }))
        }
    }
}

/// When the slot may be filled again; none = never.
fn start_due_ms(place: &Place) -> Option<u64> {
    let after_crash = match place.crashed_ms {
        Some(crashed_ms) => crashed_ms.saturating_add(millis(restart::wait(place.crashes)?)),
        None => 0,
    };
    Some(after_crash.max(place.not_before_ms))
}
