//! Whether the router has heard: who is told that something serves may ask for it at once.

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
    /// Waits until whatever is published now is in force, or has been waited for long enough.
    pub async fn now(&self) {
        let published = self.published.borrow().generation;
        let mut in_force = self.in_force.changes();
        let heard = in_force.wait_for(|generation| *generation >= published);
        if timeout(PATIENCE, heard).await.is_err() {
            tracing::warn!("the router does not say that it has the newest table");
        }
    }
}
