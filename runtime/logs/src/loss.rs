//! How many lines were lost, and since when: the two facts every loss message carries.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Lines lost and not yet told to the one who misses them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Loss {
    pub(crate) lines: u64,
    /// When the first of them was lost; `None` exactly when `lines` is 0.
    pub(crate) since: Option<Timestamp>,
}

impl Loss {
    pub(crate) fn add(&mut self, lines: u64, at: Timestamp) {
        if lines > 0 {
            self.lines += lines;
            self.since.get_or_insert(at);
        }
    }

    /// Both losses; this one began earlier.
    pub(crate) fn and(self, later: Self) -> Self {
        Self { lines: self.lines + later.lines, since: self.since.or(later.since) }
    }

    /// What is to be told, if anything; afterwards nothing is.
    pub(crate) fn take(&mut self) -> Option<(u64, Timestamp)> {
        let Self { lines, since } = std::mem::take(self);
        since.map(|since| (lines, since))
    }
}
