//! What must hold after each step, whatever happens.

use super::super::plan::Plan;
use lathe_dynos::fake::Machine;
use lathe_dynos::spec::Slot;
use lathe_router::Routes;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// News of a dyno that listens is in the routes by then: two lost heartbeats, a slow letter, and a
/// control plane that has to hear everybody first.
const NEWS_MS: u64 = 90_000;

#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Of every dyno that ever ran, whose it was.
    apps: HashMap<String, String>,
    /// Since when an app with dynos that listen has had no route.
    unrouted_ms: BTreeMap<String, u64>,
}

impl Judge {
    /// One machine has acted.
    pub(super) fn machine(&mut self, machine: &Machine) {
        let mut slots = BTreeSet::new();
        for (slot, known) in machine.running() {
            assert!(slots.insert(slot), "two in one slot: {slot}");
            self.apps.insert(known.id.to_string(), known.spec.app.to_string());
        }
    }

    /// A machine has told a dyno to end that the last plan has at home there.
    pub(super) fn stopped(slot: &Slot, at_home: bool, plan: Option<&Plan>) {
        let wanted = plan.and_then(|plan| plan.dynos.get(slot));
        let bad = wanted.is_some_and(|wanted| wanted.spec.command == super::apps::BAD);
        assert!(wanted.is_none() || bad || !at_home, "{slot:?} was stopped at home");
    }

    /// A request goes to a dyno of its own app, always.
    pub(super) fn routes(&self, routes: &Routes) {
        for (app, route) in &routes.apps {
            for target in &route.targets {
                let owner = self.apps.get(&target.dyno).map(String::as_str);
                assert_eq!(owner, Some(app.to_string().as_str()), "{target:?}");
            }
        }
    }

    /// An app whose dynos listen where they can be reached is not without a route for long.
    pub(super) fn reach(&mut self, listening: &BTreeSet<String>, routes: &Routes, now_ms: u64) {
        let mut unrouted = BTreeMap::new();
        for (app, route) in &routes.apps {
            let app = app.to_string();
            if route.targets.is_empty() && listening.contains(&app) {
                let since_ms = self.unrouted_ms.get(&app).copied().unwrap_or(now_ms);
                assert!(now_ms < since_ms + NEWS_MS, "{app} listens and has no route");
                unrouted.insert(app, since_ms);
            }
        }
        self.unrouted_ms = unrouted;
    }
}
