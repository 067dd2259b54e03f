//! When each app was last asked for, and a bell for apps that sleep.

use lathe_logs::AppId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Cheap to clone; all clones are the same. Holds one entry for each app of the route table that
/// was ever asked for.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    last_ms: Arc<Mutex<HashMap<AppId, u64>>>,
    bell: Arc<Notify>,
}

impl Demand {
    /// By app, when its last request came; Unix time in milliseconds.
    pub fn last_ms(&self) -> HashMap<AppId, u64> {
        self.lock().clone()
    }

    /// Returns when a sleeping app has been asked for since the last call. Safe to cancel.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// `app` was asked for then.
    pub(crate) fn note(&self, app: &AppId, now_ms: u64) {
        let mut last = self.lock();
        match last.get_mut(app) {
            Some(ms) => *ms = (*ms).max(now_ms),
            None => drop(last.insert(app.clone(), now_ms)),
        }
    }

    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, u64>> {
        self.last_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
