//! The request budget of a token: 4500 at most, 75 more each minute (Heroku's figures).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

pub(super) const BUDGET: f64 = 4500.0;
const PER_SECOND: f64 = 75.0 / 60.0;
/// Tokens kept in mind; those with a full budget are forgotten beyond it.
const TOKENS_MAX: usize = 10_000;

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
    /// Spends one request of `token`'s budget and says what is left; none: nothing was left.
    pub(super) fn spend(&self, token: &str, now: Instant) -> Option<u32> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= TOKENS_MAX {
            buckets.retain(|_, bucket| bucket.refill(now) < BUDGET);
        }
        let left = buckets.get(token).map_or(BUDGET, |bucket| bucket.refill(now));
        let spent = left >= 1.0;
        let left = if spent { left - 1.0 } else { left };
        buckets.insert(token.to_owned(), Bucket { left, at: now });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4500")]
        spent.then_some(left as u32)
    }
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
        assert_eq!(rates.spend("a", start + Duration::from_secs(60)), Some(74));
    }
}
