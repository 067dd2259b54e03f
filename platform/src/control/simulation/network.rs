//! Letters between the control plane and the machines: late, lost, twice, or never.

use lathe_dynos::fake::Dice;
use lathe_dynos::spec::{Desired, Observed};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) enum Letter {
    Wish(Arc<Desired>),
    /// Numbered by its sender: an older one is no news.
    Report(u64, Arc<Observed>),
}

#[derive(Debug)]
pub(super) struct Network {
    dice: Dice,
    /// Percent of the letters.
    pub(super) loses: u64,
    pub(super) doubles: u64,
    pub(super) delays_ms: u64,
    /// Machines that nobody reaches and who reach nobody.
    pub(super) cut_off: BTreeSet<usize>,
    under_way: BTreeMap<(u64, u64), (usize, Letter)>,
    sent: u64,
}

impl Network {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            dice,
            loses: 0,
            doubles: 0,
            delays_ms: 0,
            cut_off: BTreeSet::new(),
            under_way: BTreeMap::new(),
            sent: 0,
        }
    }

    /// To a machine or from it.
    pub(super) fn send(&mut self, machine: usize, letter: &Letter, now_ms: u64) {
        let copies = 1 + u64::from(self.dice.chance(self.doubles));
        for _ in 0..copies {
            if !self.dice.chance(self.loses) {
                self.sent += 1;
                let due_ms = now_ms + 1 + self.dice.below(self.delays_ms);
                self.under_way.insert((due_ms, self.sent), (machine, letter.clone()));
            }
        }
    }

    /// What arrives by now; a line that is cut loses what is on it.
    pub(super) fn arrived(&mut self, now_ms: u64) -> Vec<(usize, Letter)> {
        let later = self.under_way.split_off(&(now_ms + 1, 0));
        let due = std::mem::replace(&mut self.under_way, later).into_values();
        due.filter(|(machine, _)| !self.cut_off.contains(machine)).collect()
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.under_way.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }
}
