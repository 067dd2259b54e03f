//! What waits for one drain: a bounded buffer, at most one frame under way, and what was lost.
//!
//! Every line taken is pending, delivered or dropped; what was dropped is told to the receiver by an
//! L10 message at the head of the next frame, and is told until a frame that tells it has arrived.

use super::message::{Wire, frame_id};
use super::{DrainCounts, Left, Policy};
use crate::Cursor;
use crate::block::Block;
use crate::human::Stamps;
use crate::loss::Loss;
use crate::shelf::Shelf;
use bytes::Bytes;
use jiff::Timestamp;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Outbox {
    token: String,
    wire: Wire,
    stamps: Stamps,
    waiting: Shelf,
    /// The last line that an earlier run has left: no frame holds it and a later one.
    left_to: Option<Cursor>,
    under_way: Option<UnderWay>,
    /// Lost and in no frame yet.
    loss: Loss,
    /// Failures in a row, and since when.
    failures: u32,
    failing_since: Option<Timestamp>,
    taken: u64,
    delivered: u64,
    dropped: u64,
}

/// A frame as it is sent: the same bytes and id at every try.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) id: String,
    /// Lines, and the L10 message if there is one.
    pub(super) messages: usize,
    pub(super) body: Bytes,
}

#[derive(Debug)]
struct UnderWay {
    frame: Arc<Frame>,
    lines: Shelf,
    /// The losses this frame tells of.
    told: Loss,
    since: Timestamp,
    tries: u32,
}

/// How sending a frame ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Delivered,
    /// The receiver does not want this frame and would not at the next try.
    Refused,
    /// It may work the next time.
    Failed,
    /// There was nobody to send to; does not count as a try.
    Unreachable,
}

impl Outbox {
    pub(super) fn new(token: String, wire: Wire) -> Self {
        Self {
            token,
            wire,
            stamps: Stamps::default(),
            waiting: Shelf::default(),
            left_to: None,
            under_way: None,
            loss: Loss::default(),
            failures: 0,
            failing_since: None,
            taken: 0,
            delivered: 0,
            dropped: 0,
        }
    }

    /// Takes lines; when there is no room the oldest ones waiting are dropped.
    pub(super) fn offer(&mut self, block: Block, now: Timestamp, policy: &Policy) {
        self.taken += block.lines() as u64;
        self.waiting.push(block);
        self.trim(now, policy);
    }

    /// Takes up what an earlier run left, before any other line comes.
    pub(super) fn restore(&mut self, left: Left, now: Timestamp, policy: &Policy) {
        let Left { under_way, waiting, untold, counts, .. } = left;
        (self.taken, self.delivered, self.dropped) =
            (counts.taken, counts.delivered, counts.dropped);
        self.loss = untold;
        self.waiting = under_way;
        // The same lines make the same frame, before others join them. Frames that were sent after the
        // mark was made held only lines that waited then: they are made again, too.
        self.frame(now);
        self.left_to = waiting.last().map(Block::last);
        self.waiting.extend(waiting.blocks().cloned());
        self.trim(now, policy);
    }

    /// The frame to send now: the one under way, else the next; `None` when nothing waits.
    pub(super) fn frame(&mut self, now: Timestamp) -> Option<Arc<Frame>> {
        if self.under_way.is_none() && !self.waiting.is_empty() {
            self.under_way = Some(self.next_frame(now));
        }
        self.under_way.as_ref().map(|under_way| Arc::clone(&under_way.frame))
    }

    fn next_frame(&mut self, now: Timestamp) -> UnderWay {
        let (mut body, mut lines) = (Vec::new(), Shelf::default());
        let told = std::mem::take(&mut self.loss);
        if let Some(since) = told.since {
            body = self.wire.overflow(told.lines, since, now);
        }
        while let Some(block) = self.waiting.first() {
            let was_left = |line: Cursor| self.left_to.is_some_and(|last| line <= last);
            if lines.last().is_some_and(|line| was_left(line.last())) && !was_left(block.first) {
                break;
            }
            let at_least = usize::from(lines.is_empty());
            let fitting = self.wire.append(block, at_least, &mut body, &mut self.stamps);
            let is_full = fitting < block.lines();
            lines.extend(self.waiting.take(fitting));
            if is_full {
                break;
            }
        }
        let frame = Frame {
            id: frame_id(&self.token, &lines),
            messages: lines.lines() + usize::from(told.lines > 0),
            body: Bytes::from(body),
        };
        UnderWay { frame: Arc::new(frame), lines, told, since: now, tries: 0 }
    }

    /// Takes note of how the frame under way fared.
    pub(super) fn settle(&mut self, outcome: Outcome, now: Timestamp, policy: &Policy) {
        match outcome {
            Outcome::Delivered => {
                if let Some(sent) = self.under_way.take() {
                    self.delivered += sent.lines.lines() as u64;
                }
                self.recovered();
            }
            Outcome::Refused => {
                self.drop_frame(now);
                self.recovered();
            }
            Outcome::Failed => {
                self.failed(now);
                let tries = self.under_way.as_mut().map_or(0, |sent| {
                    sent.tries += 1;
                    sent.tries
                });
                if tries >= policy.tries {
                    self.drop_frame(now);
                }
            }
            Outcome::Unreachable => self.failed(now),
        }
        self.trim(now, policy);
    }

    fn recovered(&mut self) {
        (self.failures, self.failing_since) = (0, None);
    }

    fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
    }

    fn drop_frame(&mut self, now: Timestamp) {
        if let Some(sent) = self.under_way.take() {
            let lines = sent.lines.lines() as u64;
            self.dropped += lines;
            self.loss = sent.told.and(self.loss);
            self.loss.add(lines, now);
        }
    }

    fn trim(&mut self, now: Timestamp, policy: &Policy) {
        let failing =
            self.failing_since.is_some_and(|since| now.duration_since(since) >= policy.failing);
        let lines = match failing {
            true => policy.lines_failing.min(policy.lines),
            false if self.keeps_up(now, policy) => policy.burst.max(policy.lines),
            false => policy.lines,
        };
        if let Some(gone) = self.waiting.trim(lines, policy.bytes) {
            self.dropped += gone.lines;
            self.loss.add(gone.lines, now);
        }
    }

    fn keeps_up(&self, now: Timestamp, policy: &Policy) -> bool {
        let late = |sent: &UnderWay| now.duration_since(sent.since) >= policy.late;
        self.failures == 0 && !self.under_way.as_ref().is_some_and(late)
    }

    /// From now on for another receiver: the frame under way is taken apart again.
    pub(super) fn rewire(&mut self, wire: Wire) {
        self.unsend();
        self.wire = wire;
        self.recovered();
    }

    /// The first and the last line under way, the first that waits, and the losses not known to
    /// be told.
    pub(super) fn place(&self) -> (Option<(Cursor, Cursor)>, Option<Cursor>, Loss) {
        let sent = self.under_way.as_ref();
        let under_way =
            sent.and_then(|sent| Some((sent.lines.first()?.first, sent.lines.last()?.last())));
        let waiting = self.waiting.first().map(|block| block.first);
        (under_way, waiting, sent.map_or(self.loss, |sent| sent.told.and(self.loss)))
    }

    /// Every line not yet delivered, oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Block> {
        let sent = self.under_way.iter().flat_map(|sent| sent.lines.blocks());
        sent.chain(self.waiting.blocks())
    }

    fn unsend(&mut self) {
        if let Some(sent) = self.under_way.take() {
            self.loss = sent.told.and(self.loss);
            self.waiting.prepend(sent.lines);
        }
    }

    /// Whether `frame` is still the one to settle; after a change of receiver it is not.
    pub(super) fn is_under_way(&self, frame: &Arc<Frame>) -> bool {
        self.under_way.as_ref().is_some_and(|sent| Arc::ptr_eq(&sent.frame, frame))
    }

    /// How many times in a row sending has failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn counts(&self) -> DrainCounts {
        let under_way = self.under_way.as_ref().map_or(0, |sent| sent.lines.lines());
        DrainCounts {
            taken: self.taken,
            delivered: self.delivered,
            dropped: self.dropped,
            pending: (self.waiting.lines() + under_way) as u64,
        }
    }
}

#[cfg(test)]
mod tests;
