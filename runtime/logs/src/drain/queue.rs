//! An outbox shared by the hub, which fills it, and the worker, which empties it.

use super::message::Wire;
use super::outbox::{Frame, Outbox, Outcome};
use super::{DrainCounts, Policy};
use crate::Entry;
use crate::loss::Loss;
use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Queue {
    policy: Arc<Policy>,
    outbox: Mutex<Outbox>,
    filled: Notify,
    settled: Notify,
}

/// What a drain had not delivered when the hub stopped.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) entries: Vec<Entry>,
    pub(crate) loss: Loss,
}

impl Left {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.loss.lines == 0
    }
}

impl Queue {
    pub(super) fn new(token: String, wire: Wire, policy: Arc<Policy>) -> Self {
        let outbox = Mutex::new(Outbox::new(token, wire));
        Self { policy, outbox, filled: Notify::new(), settled: Notify::new() }
    }

    pub(crate) fn offer(&self, entry: &Entry, now: Timestamp) {
        self.lock().offer(entry.clone(), now, &self.policy);
        self.filled.notify_one();
    }

    /// The frame to send, once there is one. Only one worker may wait.
    pub(super) async fn frame(&self) -> Arc<Frame> {
        loop {
            let frame = self.lock().frame(Timestamp::now());
            match frame {
                Some(frame) => return frame,
                None => self.filled.notified().await,
            }
        }
    }

    /// Takes note of how sending `frame` ended and says how many failures in a row that makes.
    pub(super) fn settle(&self, frame: &Arc<Frame>, outcome: Outcome) -> u32 {
        let mut outbox = self.lock();
        if outbox.is_under_way(frame) {
            outbox.settle(outcome, Timestamp::now(), &self.policy);
        }
        self.settled.notify_one();
        outbox.failures()
    }

    /// Returns when everything is sent, or as soon as sending fails.
    pub(super) async fn empty_or_failing(&self) {
        loop {
            {
                let outbox = self.lock();
                if outbox.counts().pending == 0 || outbox.failures() > 0 {
                    return;
                }
            }
            self.settled.notified().await;
        }
    }

    pub(super) fn rewire(&self, wire: Wire) {
        self.lock().rewire(wire);
    }

    pub(super) fn restore(&self, left: Left) {
        self.lock().restore(left.entries, left.loss, &self.policy);
        self.filled.notify_one();
    }

    pub(super) fn leave(&self) -> Left {
        let (entries, loss) = self.lock().leave();
        Left { entries, loss }
    }

    pub(crate) fn counts(&self) -> DrainCounts {
        self.lock().counts()
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
