//! What waits for one drain: a bounded buffer, at most one frame under way, and what was lost.
//!
//! Every line taken is pending, delivered or dropped; what was dropped is told to the receiver by an
//! L10 message at the head of the next frame, and is told until a frame that tells it has arrived.

use super::message::{Wire, frame_id};
use super::{DrainCounts, Left, Policy};
use crate::human::Stamps;
use crate::loss::Loss;
use crate::{Cursor, Entry};
use bytes::Bytes;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Outbox {
    token: String,
    wire: Wire,
    stamps: Stamps,
    waiting: VecDeque<Entry>,
    /// Text bytes in `waiting`.
    bytes: usize,
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
    entries: Vec<Entry>,
    /// The losses this frame tells of.
    told: Loss,
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
            waiting: VecDeque::new(),
            bytes: 0,
            under_way: None,
            loss: Loss::default(),
            failures: 0,
            failing_since: None,
            taken: 0,
            delivered: 0,
            dropped: 0,
        }
    }

    /// Takes a line; when there is no room the oldest one waiting is dropped.
    pub(super) fn offer(&mut self, entry: Entry, now: Timestamp, policy: &Policy) {
        self.taken += 1;
        self.bytes += entry.line.text.len();
        self.waiting.push_back(entry);
        self.trim(now, policy);
    }

    /// Takes up what an earlier run left, before any other line comes.
    pub(super) fn restore(&mut self, left: Left, now: Timestamp, policy: &Policy) {
        let Left { under_way, waiting, untold, counts, .. } = left;
        (self.taken, self.delivered, self.dropped) =
            (counts.taken, counts.delivered, counts.dropped);
        self.loss = untold;
        self.bytes = under_way.iter().chain(&waiting).map(|entry| entry.line.text.len()).sum();
        self.waiting = under_way.into();
        // The same lines make the same frame, before others join them.
        self.frame(now);
        self.waiting.extend(waiting);
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
        let (mut body, mut entries) = (Vec::new(), Vec::new());
        let told = std::mem::take(&mut self.loss);
        if let Some(since) = told.since {
            body = self.wire.overflow(told.lines, since, now);
        }
        while let Some(entry) = self.waiting.front() {
            let message = self.wire.line(&entry.line, &mut self.stamps);
            if !entries.is_empty() && body.len() + message.len() > self.wire.frame_bytes() {
                break;
            }
            body.extend_from_slice(&message);
            self.bytes -= entry.line.text.len();
            entries.extend(self.waiting.pop_front());
        }
        let frame = Frame {
            id: frame_id(&self.token, &entries),
            messages: entries.len() + usize::from(told.lines > 0),
            body: Bytes::from(body),
        };
        UnderWay { frame: Arc::new(frame), entries, told, tries: 0 }
    }

    /// Takes note of how the frame under way fared.
    pub(super) fn settle(&mut self, outcome: Outcome, now: Timestamp, policy: &Policy) {
        match outcome {
            Outcome::Delivered => {
                if let Some(sent) = self.under_way.take() {
                    self.delivered += sent.entries.len() as u64;
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
            let lines = sent.entries.len() as u64;
            self.dropped += lines;
            self.loss = sent.told.and(self.loss);
            self.loss.add(lines, now);
        }
    }

    fn trim(&mut self, now: Timestamp, policy: &Policy) {
        let failing =
            self.failing_since.is_some_and(|since| now.duration_since(since) >= policy.failing);
        let lines = if failing { policy.lines_failing.min(policy.lines) } else { policy.lines };
        while self.waiting.len() > lines || self.bytes > policy.bytes {
            let Some(entry) = self.waiting.pop_front() else { return };
            self.bytes -= entry.line.text.len();
            self.dropped += 1;
            self.loss.add(1, now);
        }
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
            sent.and_then(|sent| Some((sent.entries.first()?.cursor, sent.entries.last()?.cursor)));
        let waiting = self.waiting.front().map(|entry| entry.cursor);
        (under_way, waiting, sent.map_or(self.loss, |sent| sent.told.and(self.loss)))
    }

    /// Every line not yet delivered, oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Entry> {
        self.under_way.iter().flat_map(|sent| &sent.entries).chain(&self.waiting)
    }

    fn unsend(&mut self) {
        if let Some(sent) = self.under_way.take() {
            self.loss = sent.told.and(self.loss);
            for entry in sent.entries.into_iter().rev() {
                self.bytes += entry.line.text.len();
                self.waiting.push_front(entry);
            }
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
        let under_way = self.under_way.as_ref().map_or(0, |sent| sent.entries.len());
        DrainCounts {
            taken: self.taken,
            delivered: self.delivered,
            dropped: self.dropped,
            pending: (self.waiting.len() + under_way) as u64,
        }
    }
}

#[cfg(test)]
mod tests;
