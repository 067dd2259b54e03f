//! The decision: what is wanted against what is tracked, at a given time. Pure and level-triggered:
//! asked again in the same situation it answers the same.

use crate::clock::millis;
use crate::restart::Backoff;
use crate::spec::{Desired, DynoId, EndCause, Slot};
use crate::tracked::{Action, Container, Phase, Place, Probe, Tracked};

/// Starts under way at once; more would only make each of them slower.
pub const STARTS_MAX: usize = 16;
/// SIGKILL is sent again until the end is known.
const KILL_AGAIN_MS: u64 = 5_000;
/// The port of a booting dyno is looked at after a tenth of its age, within these bounds: a fast
/// app is up at once, a slow one costs little.
const PROBE_MIN_MS: u64 = 20;
const PROBE_MAX_MS: u64 = 500;

/// What to do now, and when to ask again if no fact arrives before.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Unix time in milliseconds; none = only a fact can change anything.
    pub wake_ms: Option<u64>,
}

impl Plan {
    fn at(&mut self, due_ms: u64, now_ms: u64, action: Action) {
        if due_ms <= now_ms {
            self.actions.push(action);
        } else {
            self.wake_ms = Some(self.wake_ms.map_or(due_ms, |wake| wake.min(due_ms)));
        }
    }
}

/// Brings what runs nearer to what is wanted. `Desired` of generation 0 means that nothing is
/// known yet about what is wanted: then nothing is started and nothing is stopped.
pub fn converge(desired: &Desired, tracked: &Tracked, backoff: Backoff, now_ms: u64) -> Plan {
    let mut plan = Plan::default();
    if tracked.listing_ms.is_none() {
        plan.at(tracked.list_due_ms, now_ms, Action::List);
    }
    if !tracked.listed {
        return plan;
    }
    for (id, container) in &tracked.containers {
        let place = tracked.places.get(&container.slot);
        let current = place.is_some_and(|place| place.current == Some(*id));
        let wanted =
            current && (desired.generation == 0 || desired.dynos.contains_key(&container.slot));
        if let Some((due_ms, action)) = next(*id, container, wanted, now_ms) {
            plan.at(due_ms, now_ms, action);
        }
        if wanted && !container.ended() && !container.sampling && container.address.is_some() {
            let metrics = desired.dynos.get(&container.slot).is_some_and(|wanted| wanted.metrics);
            plan.at(container.sample_due_ms, now_ms, Action::Sample { id: *id, metrics });
        }
    }
    if desired.generation > 0 {
        start_what_is_missing(desired, tracked, backoff, now_ms, &mut plan);
    }
    plan
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

fn start_what_is_missing(
    desired: &Desired,
    tracked: &Tracked,
    backoff: Backoff,
    now_ms: u64,
    plan: &mut Plan,
) {
    let launching = |c: &&Container| matches!(c.phase, Phase::Launching { .. });
    let mut free = STARTS_MAX.saturating_sub(tracked.containers.values().filter(launching).count());
    // Never two in one slot, not even while the first is on its way out.
    let taken: std::collections::BTreeSet<&Slot> =
        tracked.containers.values().filter(|c| !c.ended()).map(|c| &c.slot).collect();
    for slot in desired.dynos.keys().filter(|slot| !taken.contains(slot)) {
        let due_ms = match tracked.places.get(slot) {
            None => Some(now_ms),
            Some(place) => start_due_ms(place, backoff),
        };
        let Some(due_ms) = due_ms else { continue };
        if due_ms <= now_ms {
            // The answer to one of those under way brings us here again.
            if free == 0 {
                continue;
            }
            free -= 1;
        }
        plan.at(due_ms, now_ms, Action::Start { slot: slot.clone() });
    }
}

/// When the slot may be filled again; none = never.
fn start_due_ms(place: &Place, backoff: Backoff) -> Option<u64> {
    let after_crash = match place.crashed_ms {
        Some(crashed_ms) => crashed_ms.saturating_add(millis(backoff.wait(place.crashes)?)),
        None => 0,
    };
    Some(after_crash.max(place.not_before_ms))
}
