//! The table in force, and the loop that replaces it: only ever by a newer one.

use crate::config::LastFile;
use crate::in_force::InForce;
use crate::index::{App, Index};
use crate::saved;
use crate::{RouterConfig, Routes};
use arc_swap::ArcSwap;
use lathe_logs::AppId;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often idle connections to dynos are looked through.
const SWEEP: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Board {
    current: ArcSwap<Index>,
    /// Wakes requests that wait for a dyno.
    in_force: InForce,
}

impl Board {
    /// Starts from the table saved by an earlier run, if there is one.
    pub(crate) fn open(saved: Option<&Path>, in_force: InForce) -> Self {
        let board = Self { current: ArcSwap::default(), in_force };
        match saved.map(saved::load::<Routes>) {
            Some(Ok(Some(routes))) => {
                tracing::info!(table.generation = routes.generation, "start with the saved table");
                board.apply(&routes);
            }
            Some(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "start without the saved table");
            }
            Some(Ok(None)) | None => {}
        }
        board
    }

    pub(crate) fn app_of(&self, host: &str) -> Option<Arc<App>> {
        self.current.load().app_of(host).cloned()
    }

    pub(crate) fn app(&self, id: &AppId) -> Option<Arc<App>> {
        self.current.load().app(id).cloned()
    }

    /// Subscribe first, look at the table then: no change is missed in between.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.in_force.changes()
    }

    /// Whether `routes` was newer and is in force now.
    fn apply(&self, routes: &Routes) -> bool {
        let before = self.current.load();
        if routes.generation <= before.generation {
            return false;
        }
        self.current.store(Arc::new(Index::build(routes, &before)));
        self.in_force.is_now(routes.generation);
        true
    }

    fn sweep(&self, keep_alive: Duration) {
        let now = Instant::now();
        for backend in self.current.load().backends() {
            backend.sweep(now, keep_alive);
        }
    }
}

/// Applies and saves every newer table. Never ends: without a publisher the last table stays.
pub(crate) async fn follow(
    board: Arc<Board>,
    mut routes: watch::Receiver<Arc<Routes>>,
    config: Arc<RouterConfig>,
) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut published = true;
    routes.mark_changed();
    loop {
        tokio::select! {
            changed = routes.changed(), if published => {
                if changed.is_err() {
                    published = false;
                    continue;
                }
                let routes = Arc::clone(&routes.borrow_and_update());
                if board.apply(&routes) {
                    save(&config, routes).await;
                }
            }
            _ = sweep.tick() => board.sweep(config.dyno_keep_alive),
        }
    }
}

async fn save(config: &RouterConfig, routes: Arc<Routes>) {
    if let Some(LastFile::Kept(path)) = config.last_table.clone() {
        saved::report(move || saved::save(&path, &routes)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppRoute, Availability};

    fn routes(generation: u64, host: &str) -> Routes {
        let route = AppRoute {
            name: "app".to_owned(),
            availability: Availability::NoWeb,
            release: 1,
            targets: Vec::new(),
        };
        Routes {
            generation,
            hosts: [(host.to_owned(), AppId::new("a"))].into(),
            apps: [(AppId::new("a"), Arc::new(route))].into(),
        }
    }

    #[test]
    fn only_a_newer_table_applies() {
        let board = Board::open(None, InForce::default());
        assert!(board.apply(&routes(2, "two.test")));
        assert!(!board.apply(&routes(2, "other.test")));
        assert!(!board.apply(&routes(1, "one.test")));
        assert!(!board.apply(&Routes::default()));
        assert!(board.app_of("two.test").is_some());
        assert!(board.apply(&routes(3, "three.test")));
        assert!(board.app_of("two.test").is_none());
    }

    #[test]
    fn a_saved_table_is_in_force_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.json");
        saved::save(&path, &routes(5, "saved.test")).unwrap();
        let board = Board::open(Some(&path), InForce::default());
        assert!(board.app_of("saved.test").is_some());
        assert!(!board.apply(&routes(4, "older.test")));
        std::fs::write(&path, b"damaged").unwrap();
        assert!(Board::open(Some(&path), InForce::default()).app_of("saved.test").is_none());
    }
}
