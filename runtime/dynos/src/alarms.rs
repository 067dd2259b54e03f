//! One time for each of many slots, and which are due. Pure.

use crate::spec::Slot;
use std::collections::{BTreeMap, BTreeSet};

/// Times are Unix milliseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Alarms {
    times: BTreeMap<Slot, u64>,
    order: BTreeSet<(u64, Slot)>,
}

impl Alarms {
    /// The slot's only alarm from now on; none takes the one away that it has.
    pub(crate) fn set(&mut self, slot: &Slot, at_ms: Option<u64>) {
        if self.times.get(slot).copied() == at_ms {
            return;
        }
        if let Some(before_ms) = self.times.remove(slot) {
            self.order.remove(&(before_ms, slot.clone()));
        }
        if let Some(at_ms) = at_ms {
            self.times.insert(slot.clone(), at_ms);
            self.order.insert((at_ms, slot.clone()));
        }
    }

    /// Those that are due, the longest first, slots of the same time in their order.
    pub(crate) fn due(&self, now_ms: u64) -> impl Iterator<Item = &Slot> {
        self.order.iter().take_while(move |(at_ms, _)| *at_ms <= now_ms).map(|(_, slot)| slot)
    }

    /// The first that is not due yet.
    pub(crate) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        let later = (now_ms.saturating_add(1), Slot(String::new()));
        self.order.range(later..).next().map(|(at_ms, _)| *at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_word_about_each_slot_counts(
            words in proptest::collection::vec((0..9u8, proptest::option::of(0..20u64)), 0..60),
            now_ms in 0..20u64,
        ) {
            let mut alarms = Alarms::default();
            let mut expected = BTreeMap::new();
            for (slot, at_ms) in words {
                let slot = Slot(slot.to_string());
                alarms.set(&slot, at_ms);
                expected.insert(slot, at_ms);
            }
            let mut times: Vec<(u64, &Slot)> =
                expected.iter().filter_map(|(slot, at_ms)| Some(((*at_ms)?, slot))).collect();
            times.sort();
            let due = times.iter().filter(|(at_ms, _)| *at_ms <= now_ms).map(|(_, slot)| *slot);
            prop_assert!(alarms.due(now_ms).eq(due));
            let next_ms = times.iter().map(|(at_ms, _)| *at_ms).find(|at_ms| *at_ms > now_ms);
            prop_assert_eq!(alarms.next_ms(now_ms), next_ms);
        }
    }
}
