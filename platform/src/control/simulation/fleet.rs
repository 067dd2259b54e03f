//! Many cells seen as one by the plan: whose dyno is where, and whom to believe.

use super::super::plan::{Facts, Plan, plan};
use super::super::plans::Plans;
use super::super::replace::Replaced;
use super::super::snapshot::Snapshot;
use crate::config::Patience;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use lathe_dynos::class::Classes;
use lathe_dynos::spec::{Desired, DynoState, Observed, ObservedDyno, Slot, Wanted};
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
    /// Who has said something of a slot, and what that comes to.
    witnesses: HashMap<Slot, BTreeSet<usize>>,
    merged: OrdMap<Slot, ObservedDyno>,
    homes: HashMap<Slot, usize>,
    /// What is wanted of each machine, and of which that has changed.
    lists: Vec<OrdMap<Slot, Arc<Wanted>>>,
    changed: BTreeSet<usize>,
    /// Slots that no machine was there for.
    homeless: BTreeSet<Slot>,
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
            witnesses: HashMap::new(),
            merged: OrdMap::new(),
            homes: HashMap::new(),
            lists: vec![OrdMap::new(); machines],
            changed: (0..machines).collect(),
            homeless: BTreeSet::new(),
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
        let before = self.heard.insert(machine, Heard { at_ms: now_ms, number, observed });
        if news {
            self.compare(machine, before.map(|heard| heard.observed).unwrap_or_default().as_ref());
        }
        news || back
    }

    /// Takes in what a machine has said that differs from what it said before.
    fn compare(&mut self, machine: usize, before: &Observed) {
        let now = self.heard[&machine].observed.clone();
        for change in before.dynos.diff(&now.dynos) {
            let slot = match change {
                DiffItem::Add(slot, _) => {
                    self.witnesses.entry(slot.clone()).or_default().insert(machine);
                    slot
                }
                DiffItem::Remove(slot, _) => {
                    if let Some(witnesses) = self.witnesses.get_mut(slot) {
                        witnesses.remove(&machine);
                    }
                    slot
                }
                DiffItem::Update { new: (slot, _), .. } => slot,
            };
            self.merge(slot);
        }
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

    pub(super) fn home(&self, slot: &Slot) -> Option<usize> {
        self.homes.get(slot).copied()
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
        let generation = self.previous.generation;
        let observed = Observed { generation, dynos: self.merged.clone() };
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

    /// All who have said something of a slot, and what.
    fn sightings(&self, slot: &Slot) -> impl Iterator<Item = (usize, &ObservedDyno)> {
        let witnesses = self.witnesses.get(slot).into_iter().flatten();
        witnesses.filter_map(|machine| Some((*machine, self.seen(*machine, slot)?)))
    }

    /// A dyno is what its home says, unless that has none up and another machine has.
    fn merge(&mut self, slot: &Slot) {
        let mut merged: Option<&ObservedDyno> = None;
        for (machine, dyno) in self.sightings(slot) {
            let home = self.homes.get(slot).is_none_or(|home| *home == machine);
            let up = dyno.state == DynoState::Up;
            let beaten = merged.is_some_and(|other| other.state == DynoState::Up);
            if if beaten { home && up } else { home || up } {
                merged = Some(dyno);
            }
        }
        match merged.cloned() {
            Some(dyno) => self.merged.insert(slot.clone(), dyno),
            None => self.merged.remove(slot),
        };
    }

    /// Where each dyno lives: where it is found, else where there are fewest.
    fn place(&mut self, plan: &Plan, now_ms: u64) {
        let mut unsettled = std::mem::take(&mut self.homeless);
        let previous = self.previous.dynos.clone();
        for change in previous.diff(&plan.dynos) {
            match change {
                DiffItem::Add(slot, _) => drop(unsettled.insert(slot.clone())),
                DiffItem::Remove(slot, _) => self.leave(slot),
                DiffItem::Update { new: (slot, wanted), .. } => {
                    if let Some(home) = self.home(slot) {
                        self.lists[home].insert(slot.clone(), wanted.clone());
                        self.changed.insert(home);
                    }
                }
            }
        }
        let live = |machine: &usize| self.is_live(*machine, now_ms);
        let (live, lost): (Vec<usize>, Vec<usize>) = (0..self.machines).partition(live);
        unsettled.extend(self.before.keys().cloned());
        unsettled.extend(lost.iter().flat_map(|machine| self.lists[*machine].keys().cloned()));
        let mut load: BTreeSet<(usize, usize)> =
            live.iter().map(|machine| (self.lists[*machine].len(), *machine)).collect();
        for slot in unsettled {
            // One that was homeless may be wanted no more.
            let Some(wanted) = plan.dynos.get(&slot) else { continue };
            let home = self.home(&slot).or_else(|| self.found(&slot));
            let home = self.returned(&slot, home, now_ms).or(home);
            let home = match home {
                Some(home) if self.is_live(home, now_ms) => home,
                lost => {
                    if let Some(lost) = lost {
                        self.before.insert(slot.clone(), lost);
                    }
                    let Some((n_dynos, fewest)) = load.pop_first() else {
                        self.homeless.insert(slot);
                        continue;
                    };
                    load.insert((n_dynos + 1, fewest));
                    fewest
                }
            };
            self.settle(&slot, home, wanted);
        }
    }

    /// A dyno's home is there from now on.
    fn settle(&mut self, slot: &Slot, home: usize, wanted: &Arc<Wanted>) {
        let before = self.homes.insert(slot.clone(), home);
        if before == Some(home) {
            return;
        }
        if let Some(before) = before {
            self.lists[before].remove(slot);
            self.changed.insert(before);
        }
        self.lists[home].insert(slot.clone(), wanted.clone());
        self.changed.insert(home);
        self.merge(slot);
    }

    /// A dyno is wanted nowhere any more.
    fn leave(&mut self, slot: &Slot) {
        self.before.remove(slot);
        if let Some(home) = self.homes.remove(slot) {
            self.lists[home].remove(slot);
            self.changed.insert(home);
            self.merge(slot);
        }
    }

    /// The machine it was lost with, if that is back before it is up anywhere else.
    fn returned(&self, slot: &Slot, home: Option<usize>, now_ms: u64) -> Option<usize> {
        let before = *self.before.get(slot)?;
        let elsewhere = home.is_some_and(|home| self.is_up(home, slot));
        let back = self.is_live(before, now_ms) && self.is_up(before, slot);
        (back && !elsewhere).then_some(before)
    }

    /// Where a dyno without a home runs, best where it is up.
    fn found(&self, slot: &Slot) -> Option<usize> {
        let runs = |(_, dyno): &(usize, &ObservedDyno)| dyno.id.is_some();
        let up = |(_, dyno): &(usize, &ObservedDyno)| dyno.state == DynoState::Up;
        let found = self.sightings(slot).filter(runs).filter(up).last();
        found.or_else(|| self.sightings(slot).find(runs)).map(|(machine, _)| machine)
    }

    fn publish(&mut self, plan: &Plan) {
        let known = self.heard.values().map(|heard| heard.observed.generation);
        let generation = known.chain([self.previous.generation]).max().unwrap_or(0) + 1;
        self.previous = Desired { generation, dynos: plan.dynos.clone() };
        // One that has heard of a later wish, from an earlier life of ours, takes none before.
        let stale = |(machine, wish): (&usize, &Arc<Desired>)| {
            let heard = self.heard.get(machine).map_or(0, |heard| heard.observed.generation);
            (wish.generation < heard).then_some(*machine)
        };
        self.changed.extend(self.wishes.iter().filter_map(stale));
        for machine in std::mem::take(&mut self.changed) {
            let dynos = self.lists[machine].clone();
            self.wishes.insert(machine, Arc::new(Desired { generation, dynos }));
        }
    }
}
