//! Whether the router has heard: who is told that something serves may ask for it at once.

use lathe_logs::AppId;
use lathe_router::{InForce, Routes};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// For the router to say so; without one there is nothing to wait for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The table that was published last, and the one that is in force.
#[derive(Clone, Debug)]
pub struct Routed {
    pub published: watch::Receiver<Arc<Routes>>,
    pub in_force: InForce,
}

impl Routed {
    /// Waits until requests to `app` go to its release `version` or a later one, or it has been waited
    /// for long enough. A release is recorded before anything is routed to it.
    pub async fn to(&self, app: &AppId, version: u32) {
        if timeout(PATIENCE, self.heard(app, version)).await.is_err() {
            tracing::warn!(%app, version, "the router does not say that it has the newest table");
        }
    }

    async fn heard(&self, app: &AppId, version: u32) {
        let mut published = self.published.clone();
        let is_there = |routes: &Arc<Routes>| {
            routes.apps.get(app).is_some_and(|route| route.release >= version)
        };
        // Whoever publishes is gone when the platform ends.
        let Ok(generation) = published.wait_for(is_there).await.map(|routes| routes.generation)
        else {
            return;
        };
        self.in_force.changes().wait_for(|in_force| *in_force >= generation).await.ok();
    }
}
