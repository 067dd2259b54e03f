//! Many cells seen as one by the plan: whose dyno is where, and whom to believe.

use super::super::plan::{Facts, Plan, plan};
use super::super::plans::Plans;
use super::super::replace::Replaced;
use super::super::snapshot::Snapshot;
use crate::config::Patience;
use lathe_dynos::class::Classes;
use lathe_dynos::spec::{Desired, DynoState, Observed, ObservedDyno, Slot};
use lathe_dynos::tracked::Action;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// A cell that has been silent for so long is taken for lost; a control plane that has just begun
/// waits so long for the ones it has not heard.
pub(super) const SILENT_MS: u64 = 30_000;
const FEW: usize = 10;

#[derive(Debug)]
struct Heard {
    at_ms: u64,
    number: u64,
    observed: Arc<Observed>,
}

/// A fault that is planted into each decision, to see whether it is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Plan(fn(&mut Plan)),
    Cell(fn(&mut Vec<Action>)),
}

/// What the control plane knows; all of it can be lost.
#[derive(Debug)]
pub(super) struct Fleet {
    born_ms: u64,
    machines: usize,
    heard: BTreeMap<usize, Heard>,
    pub(super) homes: BTreeMap<Slot, usize>,
    /// Where a dyno was when its machine fell silent.
    before: BTreeMap<Slot, usize>,
    plans: Plans,
    /// Where machines are few, each plan is compared with one that is made of everything.
    compares: bool,
    fault: Option<Fault>,
    previous: Desired,
    draining: BTreeMap<Slot, u64>,
    wishes: BTreeMap<usize, Arc<Desired>>,
}

impl Fleet {
    pub(super) fn new(machines: usize, fault: Option<Fault>, now_ms: u64) -> Self {
        Self {
            born_ms: now_ms,
            machines,
            heard: BTreeMap::new(),
            homes: BTreeMap::new(),
            before: BTreeMap::new(),
            plans: Plans::default(),
            compares: machines <= FEW,
            fault,
            previous: Desired::default(),
            draining: BTreeMap::new(),
            wishes: BTreeMap::new(),
        }
    }

    /// True when it is news.
    pub(super) fn hear(
        &mut self,
        machine: usize,
        number: u64,
        observed: Arc<Observed>,
        now_ms: u64,
    ) -> bool {
        let before = self.heard.get(&machine);
        if before.is_some_and(|heard| heard.number >= number) {
            return false;
        }
        let back = !self.is_live(machine, now_ms);
        let news = before.is_none_or(|heard| heard.observed != observed);
        self.heard.insert(machine, Heard { at_ms: now_ms, number, observed });
        news || back
    }

    /// How many machines have been silent for so long that it matters.
    pub(super) fn silent(&self, now_ms: u64) -> usize {
        (0..self.machines).filter(|machine| !self.is_live(*machine, now_ms)).count()
    }

    /// The wish of a machine that can be talked to. The others keep what they have: they may come
    /// back before their dynos are up elsewhere.
    pub(super) fn wish(&self, machine: usize, now_ms: u64) -> Option<&Arc<Desired>> {
        self.wishes.get(&machine).filter(|_| self.is_live(machine, now_ms))
    }

    /// Of the newest wish.
    pub(super) fn generation(&self) -> u64 {
        self.previous.generation
    }

    /// None: too few have spoken. An incomplete picture moves nothing and takes no route away.
    pub(super) fn decide(&mut self, snapshot: &Snapshot, now_ms: u64) -> Option<Plan> {
        if self.heard.len() < self.machines && now_ms < self.born_ms + SILENT_MS {
            return None;
        }
        let observed = self.merged();
        let facts = Facts {
            snapshot,
            observed: &observed,
            previous: &self.previous,
            draining: &self.draining,
            busy: &BTreeSet::new(),
            apps_domain: "localhost",
            patience: Patience::HEROKU,
            classes: &Classes::standard(),
            replaced: &Replaced::default(),
            asked_ms: &HashMap::new(),
            listening_since_ms: 0,
            now_ms,
        };
        let root = |_: &str| Some(PathBuf::from("/stack"));
        let complete = self.compares.then(|| plan(&facts, &root));
        let mut plan = self.plans.decide(&facts, &root);
        assert!(complete.is_none_or(|complete| complete == plan), "something was overlooked");
        if let Some(Fault::Plan(fault)) = self.fault {
            fault(&mut plan);
        }
        self.place(&plan, now_ms);
        self.draining.clone_from(&plan.draining);
        self.publish(&plan);
        Some(plan)
    }

    fn is_live(&self, machine: usize, now_ms: u64) -> bool {
        self.heard.get(&machine).is_some_and(|heard| now_ms < heard.at_ms + SILENT_MS)
    }

    fn seen(&self, machine: usize, slot: &Slot) -> Option<&ObservedDyno> {
        self.heard.get(&machine)?.observed.dynos.get(slot)
    }

    fn is_up(&self, machine: usize, slot: &Slot) -> bool {
        self.seen(machine, slot).is_some_and(|dyno| dyno.state == DynoState::Up)
    }

    /// A dyno is what its home says, unless that has none up and another machine has.
    fn merged(&self) -> Observed {
        let mut merged = Observed { generation: self.previous.generation, ..Observed::default() };
        for (machine, heard) in &self.heard {
            for (slot, dyno) in &heard.observed.dynos {
                let home = self.homes.get(slot).is_none_or(|home| home == machine);
                let up = dyno.state == DynoState::Up;
                let beaten = |other: &ObservedDyno| other.state == DynoState::Up;
                let better = if merged.dynos.get(slot).is_some_and(beaten) {
                    home && up
                } else {
                    home || up
                };
                if better {
                    merged.dynos.insert(slot.clone(), dyno.clone());
                }
            }
        }
        merged
    }

    /// Where each dyno lives: where it is found, else where there are fewest.
    fn place(&mut self, plan: &Plan, now_ms: u64) {
        self.homes.retain(|slot, _| plan.dynos.contains_key(slot));
        self.before.retain(|slot, _| plan.dynos.contains_key(slot));
        let live: Vec<usize> = (0..self.machines).filter(|m| self.is_live(*m, now_ms)).collect();
        let found = self.found();
        let mut load: BTreeSet<(usize, usize)> = self.load(&live);
        for slot in plan.dynos.keys() {
            let home = self.homes.get(slot).or(found.get(slot)).copied();
            let home = self.returned(slot, home, now_ms).or(home);
            let home = match home {
                Some(home) if self.is_live(home, now_ms) => home,
                lost => {
                    if let Some(lost) = lost {
                        self.before.insert(slot.clone(), lost);
                    }
                    let Some((n_dynos, fewest)) = load.pop_first() else { continue };
                    load.insert((n_dynos + 1, fewest));
                    fewest
                }
            };
            self.homes.insert(slot.clone(), home);
        }
    }

    /// The machine it was lost with, if that is back before it is up anywhere else.
    fn returned(&self, slot: &Slot, home: Option<usize>, now_ms: u64) -> Option<usize> {
        let before = *self.before.get(slot)?;
        let elsewhere = home.is_some_and(|home| self.is_up(home, slot));
        let back = self.is_live(before, now_ms) && self.is_up(before, slot);
        (back && !elsewhere).then_some(before)
    }

    fn found(&self) -> BTreeMap<Slot, usize> {
        let mut found: BTreeMap<Slot, usize> = BTreeMap::new();
        for (machine, heard) in &self.heard {
            for (slot, dyno) in heard.observed.dynos.iter().filter(|(_, dyno)| dyno.id.is_some()) {
                if self.homes.contains_key(slot) {
                    continue;
                }
                let up = dyno.state == DynoState::Up;
                if up || !found.contains_key(slot) {
                    found.insert(slot.clone(), *machine);
                }
            }
        }
        found
    }

    fn load(&self, live: &[usize]) -> BTreeSet<(usize, usize)> {
        let mut n_dynos: BTreeMap<usize, usize> = live.iter().map(|m| (*m, 0)).collect();
        for home in self.homes.values() {
            if let Some(n) = n_dynos.get_mut(home) {
                *n += 1;
            }
        }
        n_dynos.into_iter().map(|(machine, n)| (n, machine)).collect()
    }

    fn publish(&mut self, plan: &Plan) {
        let known = self.heard.values().map(|heard| heard.observed.generation);
        let generation = known.chain([self.previous.generation]).max().unwrap_or(0) + 1;
        self.previous = Desired { generation, dynos: plan.dynos.clone() };
        let mut dynos: BTreeMap<usize, Desired> = BTreeMap::new();
        for machine in 0..self.machines {
            dynos.insert(machine, Desired { generation, ..Desired::default() });
        }
        for (slot, wanted) in &plan.dynos {
            if let Some(desired) = self.homes.get(slot).and_then(|home| dynos.get_mut(home)) {
                desired.dynos.insert(slot.clone(), wanted.clone());
            }
        }
        for (machine, desired) in dynos {
            let same = self.wishes.get(&machine).is_some_and(|wish| wish.dynos == desired.dynos);
            // One that has heard of a later wish, from an earlier life of ours, takes none before.
            let heard = self.heard.get(&machine).map_or(0, |heard| heard.observed.generation);
            let stale = self.wishes.get(&machine).is_some_and(|wish| wish.generation < heard);
            if !same || stale {
                self.wishes.insert(machine, Arc::new(desired));
            }
        }
    }
}
