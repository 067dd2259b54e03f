//! When a crashed dyno is started again: pure arithmetic over its crash count.

use std::time::Duration;

/// A dyno that was up for longer than this has proved itself: its next crash counts as the first.
/// Cloud Foundry Diego, `CrashResetTimeout`.
pub const RESET_AFTER: Duration = Duration::from_mins(5);

/// The wait between the `crashes`-th crash in a row (1 is the first) and the next start; none = do not
/// start it again. Cloud Foundry Diego's restart calculator: 0, 0, 30 s, doubled up to 16 min, and
/// after the 200th crash never again.
pub fn wait(crashes: u32) -> Option<Duration> {
    match crashes {
        0..=2 => Some(Duration::ZERO),
        3..200 => Some(doubled(Duration::from_secs(30), crashes - 3, Duration::from_mins(16))),
        _ => None,
    }
}

/// The crash count after one more crash. `up_for` is how long the dyno had been up, none when it
/// never was.
pub fn crashed(crashes_before: u32, up_for: Option<Duration>) -> u32 {
    match up_for {
        Some(up_for) if up_for > RESET_AFTER => 1,
        _ => crashes_before.saturating_add(1),
    }
}

fn doubled(first: Duration, times: u32, max: Duration) -> Duration {
    // 2^16 times the first wait is above the cap, and far below an overflow.
    (first * (1 << times.min(16))).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diego_waits() {
        let waits = (1..1000).map_while(wait);
        let waits: Vec<u64> = waits.map(|wait| wait.as_secs()).collect();
        assert_eq!(waits[..9], [0, 0, 30, 60, 120, 240, 480, 960, 960]);
        // Crashes 1 to 199 are followed by a start; their waits sum to 2.14 days.
        assert_eq!((waits.len(), waits.iter().sum::<u64>()), (199, 185_250));
        assert_eq!(wait(200), None);
        assert_eq!(wait(u32::MAX), None);
    }

    #[test]
    fn five_minutes_up_wipe_the_slate() {
        let minutes = |n| Some(Duration::from_mins(n));
        assert_eq!(crashed(0, None), 1);
        assert_eq!(crashed(7, None), 8);
        assert_eq!(crashed(7, minutes(5)), 8);
        assert_eq!(crashed(7, minutes(6)), 1);
        assert_eq!(crashed(u32::MAX, None), u32::MAX);
    }
}
