//! The route table as requests use it: hosts point straight at apps, apps at their dynos.

use crate::backend::Backend;
use crate::{AppRoute, Routes, Target};
use lathe_logs::AppId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One generation of the table. Built from `Routes` and the index before it, from which counters,
/// quarantines and open connections of apps and dynos that stay are taken over.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) generation: u64,
    hosts: HashMap<String, Arc<App>>,
    apps: HashMap<AppId, Arc<App>>,
}

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) id: AppId,
    pub(crate) route: Arc<AppRoute>,
    pub(crate) backends: Vec<Arc<Backend>>,
    load: Arc<AtomicUsize>,
}

/// One request's place in its app's backlog; given back on drop.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Index {
    pub(crate) fn build(routes: &Routes, before: &Self) -> Self {
        let apps: HashMap<_, _> = routes
            .apps
            .iter()
            .map(|(id, route)| (id.clone(), Arc::new(App::build(id, route, before.apps.get(id)))))
            .collect();
        let hosts = routes
            .hosts
            .iter()
            .filter_map(|(host, id)| Some((host.clone(), Arc::clone(apps.get(id)?))))
            .collect();
        Self { generation: routes.generation, hosts, apps }
    }

    pub(crate) fn app_of(&self, host: &str) -> Option<&Arc<App>> {
        self.hosts.get(host)
    }

    pub(crate) fn app(&self, id: &AppId) -> Option<&Arc<App>> {
        self.apps.get(id)
    }

    pub(crate) fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.apps.values().flat_map(|app| &app.backends)
    }
}

impl App {
    fn build(id: &AppId, route: &Arc<AppRoute>, before: Option<&Arc<Self>>) -> Self {
        let known = |target: &Target| {
            let mut known = before.into_iter().flat_map(|app| &app.backends);
            let same = |one: &Target| (&one.dyno, one.address) == (&target.dyno, target.address);
            known.find(|backend| same(&backend.target)).cloned()
        };
        let backends = route
            .targets
            .iter()
            .map(|target| known(target).unwrap_or_else(|| Arc::new(Backend::new(target.clone()))))
            .collect();
        let load = before.map(|app| Arc::clone(&app.load)).unwrap_or_default();
        Self { id: id.clone(), route: Arc::clone(route), backends, load }
    }

    /// Takes a place unless `per_dyno` requests for each dyno are in flight or waiting.
    pub(crate) fn take_place(&self, per_dyno: usize) -> Option<Place> {
        let bound = per_dyno.saturating_mul(self.backends.len().max(1));
        let place = Place(Arc::clone(&self.load));
        if place.0.fetch_add(1, Ordering::AcqRel) < bound { Some(place) } else { None }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Availability;

    fn routes(dynos: &[(&str, &str)]) -> Routes {
        let targets = dynos
            .iter()
            .map(|(dyno, address)| Target {
                dyno: (*dyno).to_owned(),
                name: "web.1".to_owned(),
                address: address.parse().unwrap(),
                weight: 1,
            })
            .collect();
        let route = AppRoute {
            name: "app".to_owned(),
            availability: Availability::Serving,
            release: 1,
            targets,
        };
        Routes {
            generation: 1,
            hosts: [
                ("app.test".to_owned(), AppId::new("a")),
                ("lost.test".to_owned(), AppId::new("b")),
            ]
            .into(),
            apps: [(AppId::new("a"), Arc::new(route))].into(),
        }
    }

    #[test]
    fn dynos_that_stay_keep_their_state_and_others_do_not() {
        let first = Index::build(
            &routes(&[("d1", "10.0.0.1:80"), ("d2", "10.0.0.2:80")]),
            &Index::default(),
        );
        let second = Index::build(&routes(&[("d2", "10.0.0.2:80"), ("d3", "10.0.0.1:80")]), &first);
        let (before, after) =
            (first.app_of("app.test").unwrap(), second.app_of("app.test").unwrap());
        assert!(Arc::ptr_eq(&before.backends[1], &after.backends[0]));
        assert!(!Arc::ptr_eq(&before.backends[0], &after.backends[1]), "d3 only has d1's address");
        assert!(second.app_of("lost.test").is_none());
        assert!(second.app_of("other.test").is_none());
    }

    #[test]
    fn the_backlog_is_bounded_across_tables() {
        let first = Index::build(&routes(&[("d1", "10.0.0.1:80")]), &Index::default());
        let app = first.app_of("app.test").unwrap();
        let places: Vec<_> = (0..3).map_while(|_| app.take_place(2)).collect();
        assert_eq!(places.len(), 2);
        let second = Index::build(&routes(&[("d2", "10.0.0.1:80")]), &first);
        let app = second.app_of("app.test").unwrap();
        assert!(app.take_place(2).is_none());
        drop(places);
        assert!(app.take_place(2).is_some());
    }
}
