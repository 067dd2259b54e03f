//! A line with its place in the app's log.

use crate::Line;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// A place in one app's log, printed as a decimal number.
///
/// Grows with every line. It follows the clock (microseconds since 1970) where the clock is ahead,
/// so that it goes on growing over a restart, even over one that lost the rings.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Cursor(pub u64);

impl Cursor {
    pub(crate) fn next(self, now: Timestamp) -> Self {
        let clock = u64::try_from(now.as_microsecond()).unwrap_or(0);
        Self(clock.max(self.0.saturating_add(1)))
    }

    /// When the line was taken in, or a little later.
    pub(crate) fn time(self) -> Timestamp {
        i64::try_from(self.0)
            .ok()
            .and_then(|micros| Timestamp::from_microsecond(micros).ok())
            .unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Cheap to clone: the text is shared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub cursor: Cursor,
    pub line: Line,
}
