//! Waiting for a condition, with a bound, never for luck.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(50);

/// Asks `condition` until it answers; panics with `what` after `bound`.
pub fn until<T>(what: &str, bound: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < bound, "waited {bound:?} in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}
