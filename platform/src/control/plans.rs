//! The plan of all apps, kept up to date app by app: what an app comes to depends on no other, so
//! only those are planned again of which something has changed, or whose time has come. Pure.

use super::plan::{Facts, Plan, of_app};
use super::slots::Place;
use super::snapshot::AppState;
use super::wanted::{self, StackRoot};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use lathe_dynos::spec::{ObservedDyno, Slot, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All apps are planned again so often, whatever is known to have changed: stacks come and go on the
/// disk, say.
const COMPLETE_MS: u64 = 10_000;

/// What was decided last, and from what.
#[derive(Clone, Debug, Default)]
pub(super) struct Plans {
    apps: BTreeMap<String, Planned>,
    dynos: OrdMap<Slot, Arc<Wanted>>,
    observed: OrdMap<Slot, ObservedDyno>,
    complete_ms: u64,
}

#[derive(Clone, Debug)]
struct Planned {
    state: Arc<AppState>,
    /// What its releases come to, whatever is observed.
    wanted: OrdMap<Slot, Arc<Wanted>>,
    plan: Plan,
}

impl Plans {
    /// The plan that [`super::plan::plan`] would make of the same facts.
    pub(super) fn decide(&mut self, facts: &Facts<'_>, stack_root: StackRoot<'_>) -> Plan {
        let complete = self.complete_ms + COMPLETE_MS <= facts.now_ms;
        if complete {
            self.complete_ms = facts.now_ms;
        }
        let seen = self.see(facts);
        let mut gone = std::mem::take(&mut self.apps);
        let mut whole = Plan::default();
        for state in &facts.snapshot.apps {
            let id = &state.app.id;
            let before = gone.remove(id).filter(|before| before.is_of(state));
            let unseen = !complete && !seen.contains(id.as_str());
            let planned = match before {
                Some(before) if unseen && before.holds(facts.now_ms) => before,
                before => {
                    let wanted = match before.map(|before| before.wanted) {
                        Some(wanted) if !complete => wanted,
                        before => {
                            let Facts { patience, classes, .. } = *facts;
                            let now = wanted::of_app(state, patience, classes, stack_root);
                            before.filter(|before| *before == now).unwrap_or(now)
                        }
                    };
                    let plan = of_app(state, &wanted, facts);
                    self.exchange(id, &plan.dynos);
                    Planned { state: state.clone(), wanted, plan }
                }
            };
            whole.add(&planned.plan);
            self.apps.insert(id.clone(), planned);
        }
        for id in gone.keys() {
            self.exchange(id, &OrdMap::new());
        }
        whole.dynos = self.dynos.clone();
        whole
    }

    /// The apps of whose dynos something was observed since the last time.
    fn see<'a>(&mut self, facts: &Facts<'a>) -> BTreeSet<&'a str> {
        let now = &facts.observed.dynos;
        let news: BTreeSet<String> = self
            .observed
            .diff(now)
            .map(|change| match change {
                DiffItem::Add(slot, _)
                | DiffItem::Remove(slot, _)
                | DiffItem::Update { new: (slot, _), .. } => Place::app_of(slot).to_owned(),
            })
            .collect();
        let apps = facts.snapshot.apps.iter().map(|state| state.app.id.as_str());
        let changed = apps.filter(|id| news.contains(*id)).collect();
        self.observed = now.clone();
        changed
    }

    /// Puts these dynos into the place of those that the app had.
    fn exchange(&mut self, app: &str, dynos: &OrdMap<Slot, Arc<Wanted>>) {
        let had = self.dynos.range(Place::slots_of(app)).map(|(slot, _)| slot);
        let gone: Vec<Slot> = had.filter(|slot| !dynos.contains_key(*slot)).cloned().collect();
        for slot in gone {
            self.dynos.remove(&slot);
        }
        for (slot, wanted) in dynos {
            let had = self.dynos.get(slot);
            if !had.is_some_and(|had| Arc::ptr_eq(had, wanted) || had == wanted) {
                self.dynos.insert(slot.clone(), wanted.clone());
            }
        }
    }
}

impl Planned {
    /// Whether the app is as it was.
    fn is_of(&self, state: &Arc<AppState>) -> bool {
        Arc::ptr_eq(&self.state, state) || self.state == *state
    }

    /// Whether planning it again would come to the same, with the same observed of its dynos.
    fn holds(&self, now_ms: u64) -> bool {
        let Plan { draining, turns, asleep, wake_ms, .. } = &self.plan;
        // A turn that failed is tried again; who drains or sleeps depends on who is asked for.
        turns.is_empty()
            && draining.is_empty()
            && asleep.is_empty()
            && wake_ms.is_none_or(|due_ms| now_ms < due_ms)
    }
}
