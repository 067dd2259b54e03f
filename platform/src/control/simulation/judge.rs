//! What must hold after each step, whatever happens.

use super::super::plan::Plan;
use lathe_dynos::fake::Machine;
use lathe_dynos::spec::Slot;
use lathe_router::Routes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

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
    pub(super) fn machine(&mut self, machine: &mut Machine) {
        for (slot, known) in machine.take_begun() {
            assert!(machine.n_running_in(&slot) < 2, "two in one slot: {slot:?}");
            self.apps.insert(known.id.to_string(), known.spec.app.to_string());
        }
    }

    /// A machine has told a dyno to end that the last plan has at home there.
    pub(super) fn stopped(slot: &Slot, at_home: bool, plan: Option<&Plan>) {
        let wanted = plan.and_then(|plan| plan.dynos.get(slot));
        let bad = wanted.is_some_and(|wanted| wanted.spec.command == super::apps::BAD);
        assert!(wanted.is_none() || bad || !at_home, "{slot:?} was stopped at home");
    }

    /// A request goes to a dyno of its own app, always. What was so before is so still.
    pub(super) fn routes(&self, routes: &Routes, before: &Routes) {
        for (app, route) in &routes.apps {
            if before.apps.get(app).is_some_and(|before| Arc::ptr_eq(before, route)) {
                continue;
            }
            for target in &route.targets {
                let owner = self.apps.get(&target.dyno).map(String::as_str);
                assert_eq!(owner, Some(app.to_string().as_str()), "{target:?}");
            }
        }
    }

    /// An app whose dynos listen where they can be reached is not without a route for long: those
    /// here have none, and listen.
    pub(super) fn unrouted(&mut self, apps: BTreeSet<String>, now_ms: u64) {
        let since = |app: String| {
            let since_ms = self.unrouted_ms.get(&app).copied().unwrap_or(now_ms);
            assert!(now_ms < since_ms + NEWS_MS, "{app} listens and has no route");
            (app, since_ms)
        };
        self.unrouted_ms = apps.into_iter().map(since).collect();
    }
}
