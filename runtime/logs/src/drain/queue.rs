//! An outbox shared by the hub, which fills it, and the worker, which empties it.

use super::message::Wire;
use super::outbox::{Frame, Outbox, Outcome};
use super::{Drain, DrainCounts, Left, Mark, Policy};
use crate::block::Block;
use crate::clock::steady;
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

#[derive(Debug)]
pub(crate) struct Queue {
    policy: Arc<Policy>,
    outbox: Mutex<Outbox>,
    filled: Notify,
    settled: Notify,
    /// Something has left since the last look.
    moved: AtomicBool,
    /// Wakes the hub then.
    news: Arc<Notify>,
}

impl Queue {
    pub(super) fn new(token: String, wire: Wire, policy: Arc<Policy>, news: Arc<Notify>) -> Self {
        Self {
            policy,
            outbox: Mutex::new(Outbox::new(token, wire)),
            filled: Notify::new(),
            settled: Notify::new(),
            moved: AtomicBool::new(false),
            news,
        }
    }

    pub(crate) fn offer(&self, block: &Block, now: Timestamp) {
        self.lock().offer(block.clone(), now, &self.policy);
        self.filled.notify_one();
    }

    /// The frame to send, once there is one. Only one worker may wait.
    pub(super) async fn frame(&self) -> Arc<Frame> {
        loop {
            let frame = self.lock().frame(steady());
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
            outbox.settle(outcome, steady(), &self.policy);
        }
        self.settled.notify_one();
        self.moved.store(true, Ordering::Release);
        self.news.notify_one();
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
        self.lock().restore(left, steady(), &self.policy);
        self.filled.notify_one();
    }

    /// Where the drain stands now.
    pub(crate) fn mark(&self, drain: &Drain) -> Mark {
        let outbox = self.lock();
        let (under_way, waiting, untold) = outbox.place();
        let (drain, app) = (drain.id.clone(), drain.app.clone());
        Mark { drain, app, under_way, waiting, untold, counts: outbox.counts() }
    }

    /// Whether anything has left since the last time this was asked.
    pub(crate) fn has_moved(&self) -> bool {
        self.moved.swap(false, Ordering::AcqRel)
    }

    /// Every line not yet delivered, oldest first.
    pub(crate) fn pending(&self) -> Vec<Block> {
        self.lock().pending().cloned().collect()
    }

    pub(crate) fn counts(&self) -> DrainCounts {
        self.lock().counts()
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
