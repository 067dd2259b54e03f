//! How long to wait after a failure.

use std::time::Duration;

/// heroku/logplex, HTTP drains: 10 ms × trunc((2^k − 1) / 2), k uniform in 1..=min(failures, 10).
/// `random` is any uniform number. At most 5.11 s.
pub(super) fn http(failures: u32, random: u64) -> Duration {
    let k = 1 + random % u64::from(failures.clamp(1, 10));
    Duration::from_millis(10 * (((1 << k) - 1) / 2))
}

/// heroku/logplex, TCP drains: doubles from the shortest pause to the longest.
pub(super) fn syslog(failures: u32, (min, max): (Duration, Duration)) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    min.saturating_mul(1 << doublings).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_pauses() {
        for random in 0..100 {
            assert_eq!(http(1, random), Duration::ZERO);
            assert!(http(2, random) <= Duration::from_millis(10));
            assert!(http(u32::MAX, random) <= Duration::from_millis(5110));
        }
        assert_eq!(http(3, 2), Duration::from_millis(30));
        assert_eq!(http(10, 9), Duration::from_millis(5110));
    }

    #[test]
    fn syslog_pauses() {
        let range = (Duration::from_secs(30), Duration::from_mins(5));
        let pauses: Vec<_> = (1..=6).map(|failures| syslog(failures, range).as_secs()).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 300, 300]);
        assert_eq!(syslog(u32::MAX, range), range.1);
    }
}
