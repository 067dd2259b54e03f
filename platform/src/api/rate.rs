//! The request budget of an account: 4500 at most, 75 more each minute (Heroku Platform API
//! Reference, Rate Limits).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

const BUDGET: f64 = 4500.0;
const PER_SECOND: f64 = 75.0 / 60.0;
/// Accounts kept in mind; those with a full budget are forgotten beyond it.
const ACCOUNTS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Rates {
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn refill(self, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.left + gained).min(BUDGET)
    }
}

impl Rates {
    /// Spends one request of the account's budget and says what is left; none: nothing was left.
    pub(super) fn spend(&self, account: &str, now: Instant) -> Option<u32> {
        let mut buckets = self.lock();
        if buckets.len() >= ACCOUNTS_MAX {
            buckets.retain(|_, bucket| bucket.refill(now) < BUDGET);
        }
        let left = buckets.get(account).map_or(BUDGET, |bucket| bucket.refill(now));
        let spent = left >= 1.0;
        let left = if spent { left - 1.0 } else { left };
        buckets.insert(account.to_owned(), Bucket { left, at: now });
        spent.then_some(whole(left))
    }

    /// What `account` may spend now.
    pub(super) fn left(&self, account: &str, now: Instant) -> u32 {
        whole(self.lock().get(account).map_or(BUDGET, |bucket| bucket.refill(now)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4500")]
fn whole(requests: f64) -> u32 {
    requests as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_budget_is_spent_and_comes_back_by_the_minute() {
        let rates = Rates::default();
        let start = Instant::now();
        for left in (0..4500).rev() {
            assert_eq!(rates.spend("a", start), Some(left));
        }
        assert_eq!(rates.spend("a", start), None);
        assert_eq!(rates.spend("b", start), Some(4499), "others are not affected");
        assert_eq!(rates.spend("a", start + Duration::from_mins(1)), Some(74));
    }
}
