//! What is tracked, told in the words the cell shares with its caller. Pure.

use crate::checks::Vital;
use crate::spec::{Desired, DynoState, ObservedDyno, Slot};
use crate::tracked::{Place, Tracked};

/// The entry of one slot: there is one while it is wanted or not yet empty.
pub(crate) fn observe(slot: &Slot, desired: &Desired, tracked: &Tracked) -> Option<ObservedDyno> {
    let wanted = desired.dynos.contains_key(slot);
    match tracked.places.get(slot) {
        Some(place) => Some(dyno(place, tracked)).filter(|dyno| wanted || dyno.id.is_some()),
        None => wanted.then_some(ObservedDyno {
            id: None,
            state: DynoState::Starting,
            address: None,
            since_ms: 0,
            crashes: 0,
            ready: false,
            ailing: None,
            last_end: None,
        }),
    }
}

fn dyno(place: &Place, tracked: &Tracked) -> ObservedDyno {
    let current = place.current.and_then(|id| Some((id, tracked.containers.get(&id)?)));
    let running = current.filter(|(_, container)| !container.ended());
    let up = running.map(|(_, container)| container).filter(|c| c.state() == DynoState::Up);
    let finding = |vital| up.and_then(|container| container.pulse.finding(vital));
    ObservedDyno {
        id: running.map(|(id, _)| id),
        state: match current {
            Some((_, container)) if container.ended() && place.crashed_ms.is_none() => {
                DynoState::Starting
            }
            Some((_, container)) => container.state(),
            None => DynoState::Starting,
        },
        address: running.and_then(|(_, container)| container.address),
        since_ms: current.map_or(0, |(_, container)| container.since_ms),
        crashes: place.crashes,
        ready: up.is_some() && finding(Vital::Readiness).is_none(),
        ailing: finding(Vital::Health).cloned(),
        last_end: place.last_end.clone(),
    }
}
