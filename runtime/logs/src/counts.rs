//! Where an app's lines went; nothing is unaccounted for.

use crate::drain::DrainCounts;
use std::collections::BTreeMap;

/// `emitted = dropped + stored + evicted`. A line that was split counts as its pieces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// All lines there ever were, those of earlier runs included.
    pub emitted: u64,
    /// Lost before they were stored: the queue to the hub was full, or the platform was killed.
    pub dropped: u64,
    /// In the ring now.
    pub stored: u64,
    /// No longer in the ring: too old, or newer lines needed the place.
    pub evicted: u64,
    /// By drain id. A drain takes what comes while it is in the table.
    pub drains: BTreeMap<String, DrainCounts>,
}
