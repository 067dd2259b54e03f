//! The cell's mind: what is wanted, what is known, and what was said of it. Pure: time is an
//! argument, and what is to be done comes out.
//!
//! It decides as if it looked at every slot each time, and looks only at those of which something has
//! changed or whose time has come: what a slot comes to depends on no other. With every list of the
//! engine's it looks at all of them, so that nothing stays overlooked.

use crate::alarms::Alarms;
use crate::cell::observe::observe;
use crate::converge::{STARTS_MAX, converge};
use crate::spec::{Desired, DynoId, Observed, ObservedDyno, Slot, Wanted};
use crate::tracked::{Action, Fact, Said, Tracked};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What to do now, and when to ask again if no fact arrives before.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    /// Unix time in milliseconds; none = only a fact can change anything.
    pub(crate) wake_ms: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Mind {
    desired: Arc<Desired>,
    tracked: Tracked,
    /// When time alone gives a slot something to do.
    alarms: Alarms,
    /// When an empty slot may be filled.
    vacant: Alarms,
    /// Slots in which a start is under way.
    launching: BTreeSet<Slot>,
    /// Slots of dynos that were found running and not looked at since.
    unseen: BTreeSet<Slot>,
    observed: OrdMap<Slot, ObservedDyno>,
    /// That is not what was reported last.
    news: bool,
}

impl Mind {
    pub(crate) fn new(desired: Arc<Desired>) -> Self {
        let mut mind = Self {
            desired: Arc::default(),
            tracked: Tracked::default(),
            alarms: Alarms::default(),
            vacant: Alarms::default(),
            launching: BTreeSet::new(),
            unseen: BTreeSet::new(),
            observed: OrdMap::new(),
            news: true,
        };
        mind.want(desired);
        mind
    }

    pub(crate) fn desired(&self) -> &Arc<Desired> {
        &self.desired
    }

    pub(crate) fn tracked(&self) -> &Tracked {
        &self.tracked
    }

    pub(crate) fn wanted(&self, slot: &Slot) -> Option<&Arc<Wanted>> {
        self.desired.dynos.get(slot)
    }

    /// Takes over a complete list of what shall run.
    pub(crate) fn want(&mut self, desired: Arc<Desired>) {
        for change in self.desired.dynos.diff(&desired.dynos) {
            let (DiffItem::Add(slot, _)
            | DiffItem::Remove(slot, _)
            | DiffItem::Update { new: (slot, _), .. }) = change;
            self.tracked.touch(slot);
        }
        let first = self.desired.generation == 0;
        self.desired = desired;
        self.news = true;
        if first {
            self.touch_all();
        }
    }

    fn touch_all(&mut self) {
        self.tracked.touch_all();
        self.desired.dynos.keys().for_each(|slot| self.tracked.touch(slot));
    }

    /// Takes in a fact; returns what the apps' logs shall say about it.
    pub(crate) fn learn(&mut self, fact: Fact, now_ms: u64) -> Vec<Said> {
        let complete = matches!(fact, Fact::Listed { .. });
        let said = self.tracked.learn(fact, now_ms);
        if complete {
            self.touch_all();
        }
        said
    }

    /// The container's start in this slot is about to be done.
    pub(crate) fn begin_start(
        &mut self,
        id: DynoId,
        slot: &Slot,
        wanted: &Wanted,
        now_ms: u64,
    ) -> Said {
        self.tracked.begin_start(id, slot, wanted, now_ms)
    }

    /// Any other action is about to be done.
    pub(crate) fn begin(&mut self, action: &Action, now_ms: u64) -> Vec<Said> {
        self.tracked.begin(action, now_ms)
    }

    /// What is to be done now. What is begun may have something to do of its own: ask until there is
    /// nothing.
    pub(crate) fn decide(&mut self, now_ms: u64) -> Plan {
        let mut plan = Plan::default();
        let list_ms = self.tracked.listing_ms.is_none().then_some(self.tracked.list_due_ms);
        if list_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            plan.actions.push(Action::List);
        }
        if self.tracked.listed {
            let mut slots = self.tracked.take_touched();
            slots.extend(self.alarms.due(now_ms).cloned());
            for slot in slots {
                self.look_at(&slot, now_ms, &mut plan);
            }
            // The answer to one of those under way brings us here again.
            let free = STARTS_MAX.saturating_sub(self.launching.len());
            let starts = self.vacant.due(now_ms).take(free);
            plan.actions.extend(starts.map(|slot| Action::Start { slot: slot.clone() }));
        }
        let later = list_ms.filter(|due_ms| *due_ms > now_ms);
        let next = [later, self.alarms.next_ms(now_ms), self.vacant.next_ms(now_ms)];
        plan.wake_ms = next.into_iter().flatten().min();
        plan
    }

    fn look_at(&mut self, slot: &Slot, now_ms: u64, plan: &mut Plan) {
        if self.desired.generation > 0 && self.wanted(slot).is_none() {
            self.tracked.sweep(slot);
        }
        let verdict = converge(slot, &self.desired, &self.tracked, now_ms);
        self.alarms.set(slot, verdict.wake_ms);
        self.vacant.set(slot, verdict.vacant_ms);
        mark(&mut self.launching, slot, verdict.launching);
        mark(&mut self.unseen, slot, self.tracked.is_unseen(slot));
        plan.actions.extend(verdict.actions);
        let now = observe(slot, &self.desired, &self.tracked);
        if self.observed.get(slot) != now.as_ref() {
            self.news = true;
            match now {
                Some(dyno) => self.observed.insert(slot.clone(), dyno),
                None => self.observed.remove(slot),
            };
        }
    }

    /// What is observed, when that is news and enough is known to say it: the engine has listed what
    /// runs, and every dyno found running has been looked at once. A report before that would take
    /// running dynos from the routers.
    pub(crate) fn report(&mut self) -> Option<Observed> {
        if !self.news || !self.tracked.listed || !self.unseen.is_empty() {
            return None;
        }
        self.news = false;
        let generation = self.desired.generation;
        Some(Observed { generation, dynos: self.observed.clone() })
    }
}

fn mark(marked: &mut BTreeSet<Slot>, slot: &Slot, mark: bool) {
    if mark == marked.contains(slot) {
        return;
    }
    if mark {
        marked.insert(slot.clone());
    } else {
        marked.remove(slot);
    }
}
