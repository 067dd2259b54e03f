//! One clock for a process: the time of day when it was first asked, and what has passed since.
//!
//! A step of the system's clock changes no duration that is measured with it. What has to agree with
//! clocks elsewhere (the time of a line, the end of a certificate) asks the system instead.

use jiff::{SignedDuration, Timestamp};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static BEGAN: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));

/// Now, by this process's count.
pub fn steady() -> Timestamp {
    let (began, at) = *BEGAN;
    after(began, at.elapsed())
}

/// The same as Unix time in milliseconds.
pub fn steady_ms() -> u64 {
    u64::try_from(steady().as_millisecond()).unwrap_or(0)
}

fn after(began: Timestamp, passed: Duration) -> Timestamp {
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    began.checked_add(passed).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_from_where_it_began() {
        let second = |n| Timestamp::from_second(n).unwrap();
        assert_eq!(after(second(1_000), Duration::from_secs(5)), second(1_005));
        assert_eq!(after(second(-10), Duration::ZERO), second(-10));
        assert_eq!(after(second(0), Duration::MAX), Timestamp::MAX);
        let first = steady();
        assert!(steady() >= first && steady_ms() > 0);
    }
}
