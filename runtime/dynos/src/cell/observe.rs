//! What is tracked, told in the words the cell shares with its caller. Pure.

use crate::spec::{Desired, DynoState, Observed, ObservedDyno, Slot};
use crate::tracked::{Place, Tracked};

/// One entry for every slot that is wanted or not yet empty.
pub(crate) fn observe(desired: &Desired, tracked: &Tracked) -> Observed {
    let mut observed = Observed { generation: desired.generation, ..Observed::default() };
    for (slot, place) in &tracked.places {
        let dyno = dyno(place, tracked);
        let gone = dyno.id.is_none() && !desired.dynos.contains_key(slot);
        if !gone {
            observed.dynos.insert(slot.clone(), dyno);
        }
    }
    for slot in desired.dynos.keys().filter(|slot| !tracked.places.contains_key(slot)) {
        observed.dynos.insert(
            Slot::clone(slot),
            ObservedDyno {
                id: None,
                state: DynoState::Starting,
                address: None,
                since_ms: 0,
                crashes: 0,
                last_end: None,
            },
        );
    }
    observed
}

fn dyno(place: &Place, tracked: &Tracked) -> ObservedDyno {
    let current = place.current.and_then(|id| Some((id, tracked.containers.get(&id)?)));
    let running = current.filter(|(_, container)| !container.ended());
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
        last_end: place.last_end.clone(),
    }
}
