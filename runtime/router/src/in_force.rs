//! Which route table is in force: for whoever must know that a dyno gets no more requests.

use std::sync::Arc;
use tokio::sync::watch;

/// The generation of the table in force; 0: none. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct InForce(Arc<watch::Sender<u64>>);

impl Default for InForce {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl InForce {
    /// Subscribe first, look at the table then: no change is missed in between.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    pub(crate) fn is_now(&self, generation: u64) {
        self.0.send_replace(generation);
    }
}
