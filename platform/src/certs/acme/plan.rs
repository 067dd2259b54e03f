//! Which name is to be had a certificate for, and when. Pure.

use jiff::{SignedDuration, Timestamp};

/// After the first failure. Let's Encrypt takes five failures of a name in an hour (Let's Encrypt,
/// "Rate Limits"): these are four.
const PAUSE: SignedDuration = SignedDuration::from_mins(5);
const PAUSE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// When the authority says that we ask too often.
const PAUSE_LIMITED: SignedDuration = SignedDuration::from_hours(1);
/// From then on it is called failed; it is tried all the same.
const FAILURES_MAX: u32 = 5;

/// A name of an app that wants its certificates from an authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Name {
    pub(super) app: String,
    pub(super) hostname: String,
    /// When the certificate that it has is to be renewed; none when it has none.
    pub(super) renew_at: Option<Timestamp>,
    /// In a row, and since then not to be tried before.
    pub(super) failures: u32,
    pub(super) not_before: Timestamp,
}

impl Name {
    fn due_at(&self) -> Timestamp {
        self.not_before.max(self.renew_at.unwrap_or(Timestamp::MIN))
    }
}

/// The name that is to be ordered for first, and when. Of those that are overdue the ones without a
/// certificate, and those that have failed least, come first: a name that never works holds up
/// nobody.
pub(super) fn next(names: &[Name], now: Timestamp) -> Option<(&Name, Timestamp)> {
    let first = names.iter().min_by_key(|name| {
        let due_at = name.due_at().max(now);
        (due_at, name.renew_at.is_some(), name.failures, &name.hostname)
    });
    first.map(|name| (name, name.due_at().max(now)))
}

/// When a name is to be tried again that has failed so often in a row.
pub(super) fn again_at(failures: u32, is_limited: bool, now: Timestamp) -> Timestamp {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = PAUSE.saturating_mul(1 << doublings).min(PAUSE_MAX);
    let pause = if is_limited { pause.max(PAUSE_LIMITED) } else { pause };
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

pub(super) fn is_failed(failures: u32) -> bool {
    failures >= FAILURES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn name(hostname: &str, renew_at: Option<i64>, failures: u32, not_before: i64) -> Name {
        Name {
            app: "a".into(),
            hostname: hostname.into(),
            renew_at: renew_at.map(at),
            failures,
            not_before: at(not_before),
        }
    }

    #[test]
    fn who_has_none_comes_first_and_who_fails_waits() {
        let first = |names: &[Name], now| {
            next(names, at(now)).map(|(name, due_at)| (name.hostname.clone(), due_at))
        };
        let names =
            [name("renew", Some(50), 0, 0), name("new", None, 0, 0), name("fails", None, 3, 40)];
        assert_eq!(first(&names, 10), Some(("new".into(), at(10))));
        assert_eq!(
            first(&[names[0].clone(), names[2].clone()], 10),
            Some(("fails".into(), at(40)))
        );
        // Both overdue: one without a certificate, one that is served still.
        assert_eq!(
            first(&[names[0].clone(), names[2].clone()], 60),
            Some(("fails".into(), at(60)))
        );
        assert_eq!(first(&[names[0].clone()], 10), Some(("renew".into(), at(50))));
        assert_eq!(first(&[], 10), None);
        let often = [name("never", None, 9, 0), name("seldom", None, 1, 0)];
        assert_eq!(first(&often, 60), Some(("seldom".into(), at(60))));
    }

    /// fault H13: an authority that is down, or says that it is asked too often.
    #[test]
    fn the_pauses_grow_and_a_limit_is_heeded() {
        let minutes =
            |failures, limited| again_at(failures, limited, at(0)).duration_since(at(0)).as_mins();
        let pauses: Vec<_> = (1..12).map(|failures| minutes(failures, false)).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        assert_eq!(minutes(1, true), 60);
        assert_eq!(minutes(6, true), 160);
        assert_eq!(minutes(u32::MAX, false), 1440);
        assert!(!is_failed(4) && is_failed(5));
    }
}
