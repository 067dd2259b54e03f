//! Where an app's lines went; nothing is unaccounted for.

use crate::drain::DrainCounts;
use std::collections::BTreeMap;

/// `emitted = dropped + stored + evicted`. A line that was split counts as its pieces.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// All lines since the start, those taken back from the spool included.
    pub emitted: u64,
    /// Lost at the door, because the queue to the hub was full.
    pub dropped: u64,
    /// In the ring now.
    pub stored: u64,
    /// No longer in the ring: too old, or newer lines needed the place.
    pub evicted: u64,
    /// By drain id. A drain takes what comes while it is in the table.
    pub drains: BTreeMap<String, DrainCounts>,
}
