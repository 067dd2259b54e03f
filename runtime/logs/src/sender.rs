//! The way into the log hub: bounded, never blocking, counting what it drops.

use crate::Line;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// A cheap handle that every part of the platform logs through.
#[derive(Clone, Debug)]
pub struct Sender {
    lines: mpsc::Sender<Line>,
    dropped: Arc<AtomicU64>,
}

/// The queue between those who log and the hub. `bound` is in lines.
pub fn channel(bound: usize) -> (Sender, mpsc::Receiver<Line>) {
    let (lines, receiver) = mpsc::channel(bound);
    (Sender { lines, dropped: Arc::default() }, receiver)
}

impl Sender {
    /// Hands over a line; when the queue is full the line is dropped and counted, because a
    /// dyno, the router and the API must never wait for the logs.
    pub fn send(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines dropped at this door since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
