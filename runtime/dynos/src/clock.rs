//! One clock for the cell: Unix milliseconds that never jump.

use lathe_logs::clock::steady_ms;
use std::time::Duration;
use tokio::time::Instant;

/// Takes the process's own count, and counts monotonic time from there, so that a step of the system's
/// clock neither kills a booting dyno nor postpones a restart. Under a paused tokio clock it is
/// virtual.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    unix_ms_at_start: u64,
    start: Instant,
}

impl Clock {
    pub fn system() -> Self {
        Self::starting_at(steady_ms())
    }

    pub fn starting_at(unix_ms: u64) -> Self {
        Self { unix_ms_at_start: unix_ms, start: Instant::now() }
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.unix_ms_at_start.saturating_add(millis(self.start.elapsed()))
    }

    /// When `now_ms` will be `unix_ms`; a past time is now.
    pub fn instant(&self, unix_ms: u64) -> Instant {
        self.start + Duration::from_millis(unix_ms.saturating_sub(self.unix_ms_at_start))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
