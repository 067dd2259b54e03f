//! The way into the log hub: bounded, never blocking, counting what it drops.

use crate::loss::Loss;
use crate::{AppId, Ledger, Line};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Apps whose losses are remembered apart until the hub has told them; more are only summed.
const LOSING_APPS_MAX: usize = 1024;

/// A cheap handle that every part of the platform logs through.
#[derive(Clone, Debug)]
pub struct Sender {
    lines: mpsc::Sender<Line>,
    dropped: Arc<AtomicU64>,
    losses: Losses,
    ledger: Option<Arc<Ledger>>,
}

/// The hub's end of the queue.
#[derive(Debug)]
pub struct Receiver {
    lines: mpsc::Receiver<Line>,
    losses: Losses,
    ledger: Option<Arc<Ledger>>,
}

/// Losses at the door by app, shared by all handles; touched only when a line is dropped.
#[derive(Clone, Debug, Default)]
struct Losses(Arc<Mutex<BTreeMap<AppId, Loss>>>);

/// The queue between those who log and the hub. `bound` is in lines.
pub fn channel(bound: usize) -> (Sender, Receiver) {
    open(bound, None)
}

/// The same, with every line counted in a file before it is queued.
pub fn counted_channel(bound: usize, ledger: Ledger) -> (Sender, Receiver) {
    open(bound, Some(Arc::new(ledger)))
}

fn open(bound: usize, ledger: Option<Arc<Ledger>>) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(bound);
    let losses = Losses::default();
    let receiver = Receiver { lines: receiver, losses: losses.clone(), ledger: ledger.clone() };
    (Sender { lines: sender, dropped: Arc::default(), losses, ledger }, receiver)
}

impl Sender {
    /// Hands over a line; when the queue is full the line is dropped and counted, because a
    /// dyno, the router and the API must never wait for the logs.
    pub fn send(&self, line: Line) {
        self.count(&line.app, 1);
        self.hand_over(line);
    }

    /// Counts lines as lost that should have come here, `since` the first of them.
    pub fn lost(&self, app: &AppId, lines: u64, since: Timestamp) {
        self.count(app, lines);
        self.dropped.fetch_add(lines, Ordering::Relaxed);
        self.losses.add(app, lines, since);
    }

    /// The same for several lines of one app, counted at once.
    pub fn send_all(&self, app: &AppId, lines: impl ExactSizeIterator<Item = Line>) {
        self.count(app, lines.len() as u64);
        lines.for_each(|line| self.hand_over(line));
    }

    fn count(&self, app: &AppId, lines: u64) {
        if let Some(ledger) = &self.ledger {
            ledger.add(app, lines);
        }
    }

    fn hand_over(&self, line: Line) {
        use mpsc::error::TrySendError::{Closed, Full};
        if let Err(Full(line) | Closed(line)) = self.lines.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.losses.add(&line.app, 1, line.time);
        }
    }

    /// Lines dropped at this door since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Receiver {
    /// The next line; `None` once every `Sender` is gone and the queue is empty.
    pub async fn recv(&mut self) -> Option<Line> {
        self.lines.recv().await
    }

    pub fn try_recv(&mut self) -> Result<Line, mpsc::error::TryRecvError> {
        self.lines.try_recv()
    }

    /// Waits for at least one line and moves up to `limit` into `batch`; 0 when the queue has ended.
    pub async fn recv_many(&mut self, batch: &mut Vec<Line>, limit: usize) -> usize {
        self.lines.recv_many(batch, limit).await
    }

    /// From now on every line is dropped at the door; what is queued can still be received.
    pub(crate) fn close(&mut self) {
        self.lines.close();
    }

    pub(crate) fn ledger(&self) -> Option<Arc<Ledger>> {
        self.ledger.clone()
    }

    /// Lines lost since the last call, by app, and since when.
    pub fn losses(&self) -> Vec<(AppId, u64, Timestamp)> {
        let losses = self.take_losses().into_iter();
        losses.filter_map(|(app, mut loss)| loss.take().map(|(n, since)| (app, n, since))).collect()
    }

    /// The losses since the last call, by app.
    pub(crate) fn take_losses(&self) -> BTreeMap<AppId, Loss> {
        std::mem::take(&mut *self.losses.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Losses {
    fn add(&self, app: &AppId, lines: u64, since: Timestamp) {
        let mut apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if apps.len() < LOSING_APPS_MAX || apps.contains_key(app) {
            apps.entry(app.clone()).or_default().add(lines, since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;
    use bytes::Bytes;

    #[test]
    fn a_full_queue_drops_and_counts_by_app() {
        let (sender, mut receiver) = channel(2);
        let line = |app: &str, second| Line {
            app: AppId::new(app),
            time: Timestamp::constant(second, 0),
            source: Source::App,
            process: Arc::from("web.1"),
            text: Bytes::from_static(b"x"),
        };
        for second in 0..5 {
            sender.send(line("a", second));
        }
        sender.send(line("b", 9));
        sender.lost(&AppId::new("c"), 7, Timestamp::constant(8, 0));
        assert_eq!(sender.dropped(), 4 + 7);
        let losses = receiver.take_losses();
        assert_eq!(
            losses[&AppId::new("a")],
            Loss { lines: 3, since: Some(Timestamp::constant(2, 0)) }
        );
        assert_eq!(losses[&AppId::new("b")].lines, 1);
        assert_eq!(losses[&AppId::new("c")].lines, 7);
        assert!(receiver.take_losses().is_empty());
        assert_eq!((0..3).filter(|_| receiver.try_recv().is_ok()).count(), 2);
    }
}
