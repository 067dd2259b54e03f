//! Where a drain stands in its app's log: small enough to be written down after every batch.

use super::DrainCounts;
use crate::block::Block;
use crate::loss::Loss;
use crate::shelf::Shelf;
use crate::{AppId, Cursor};
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) drain: String,
    pub(crate) app: AppId,
    /// The first and the last line of the frame under way.
    pub(crate) under_way: Option<(Cursor, Cursor)>,
    /// The first line that waits; all later ones of the app wait too.
    pub(crate) waiting: Option<Cursor>,
    /// Losses of which the receiver does not know.
    pub(crate) untold: Loss,
    pub(crate) counts: DrainCounts,
}

/// What a drain had not delivered when the hub ended.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// Sent again as one frame: the receiver may have it already, and knows it by its id.
    pub(crate) under_way: Shelf,
    pub(crate) waiting: Shelf,
    pub(crate) untold: Loss,
    pub(crate) counts: DrainCounts,
    pub(crate) mark: Mark,
}

impl Left {
    /// Picks the drain's lines among `lines`, all of its app. One that should be there and is not
    /// is lost.
    pub(crate) fn new<'a>(mark: Mark, blocks: impl Iterator<Item = &'a Block>) -> Self {
        let (mut under_way, mut waiting) = (Shelf::default(), Shelf::default());
        for block in blocks {
            let part = |first, end| block.within(&(first..end));
            let sent = mark
                .under_way
                .and_then(|(first, last)| part(first, Cursor(last.0.saturating_add(1))));
            under_way.extend(sent);
            waiting.extend(mark.waiting.and_then(|first| part(first, Cursor(u64::MAX))));
        }
        let (mut counts, mut untold) = (mark.counts, mark.untold);
        let found = (under_way.lines() + waiting.lines()) as u64;
        let gone = counts.pending.saturating_sub(found);
        if let Some(first) = mark.under_way.map(|(first, _)| first).or(mark.waiting) {
            untold.add(gone, first.time());
        }
        counts.dropped += gone;
        counts.pending = found;
        counts.taken = counts.delivered + counts.dropped + counts.pending;
        Self { under_way, waiting, untold, counts, mark }
    }
}
