//! When bytes last went over a session, and whether its client has said anything at all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub(super) struct Traffic {
    since: Instant,
    /// Of the last bytes in either direction, after `since`.
    last_ms: AtomicU64,
    heard: AtomicBool,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), last_ms: AtomicU64::new(0), heard: AtomicBool::new(false) }
    }

    pub(super) fn moved(&self) {
        let after_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(after_ms, Ordering::Relaxed);
    }

    pub(super) fn heard_client(&self) {
        self.moved();
        self.heard.store(true, Ordering::Relaxed);
    }

    pub(super) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Waits until nothing has moved for `at_most`.
    pub(super) async fn idle(&self, at_most: Duration) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let at = self.since + last + at_most;
            if Instant::now() >= at {
                return;
            }
            sleep_until(at).await;
        }
    }
}
