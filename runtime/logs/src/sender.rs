//! The way into the log hub: bounded, never blocking, counting what it drops.

use crate::block::Block;
use crate::loss::Loss;
use crate::shelf::Shelf;
use crate::{AppId, Ledger, Line, intake};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Apps whose losses are remembered apart until the hub has told them; more are only summed.
const LOSING_APPS_MAX: usize = 1024;

/// A cheap handle that every part of the platform logs through.
#[derive(Clone, Debug)]
pub struct Sender {
    blocks: mpsc::Sender<Block>,
    door: Arc<Door>,
    ledger: Option<Arc<Ledger>>,
}

/// The hub's end of the queue.
#[derive(Debug)]
pub struct Receiver {
    blocks: mpsc::Receiver<Block>,
    /// What was received and is read line by line.
    open: Shelf,
    door: Arc<Door>,
    ledger: Option<Arc<Ledger>>,
}

/// What both ends know of the queue between them.
#[derive(Debug)]
pub(crate) struct Door {
    bound: usize,
    /// Lines in the queue: the queue itself counts blocks, which may hold any number of them.
    queued: AtomicUsize,
    /// Lines let in since the start.
    handed: AtomicU64,
    dropped: AtomicU64,
    /// By app; touched only when a line is dropped.
    losses: Mutex<BTreeMap<AppId, Loss>>,
}

/// The queue between those who log and the hub. `bound` is in lines.
pub fn channel(bound: usize) -> (Sender, Receiver) {
    open(bound, None)
}

/// The same, with every line counted in a file before it is queued.
pub fn counted_channel(bound: usize, ledger: Ledger) -> (Sender, Receiver) {
    open(bound, Some(Arc::new(ledger)))
}

fn open(bound: usize, ledger: Option<Arc<Ledger>>) -> (Sender, Receiver) {
    // Every block has a line at least: there is always room for one that is let in.
    let (sender, receiver) = mpsc::channel(bound);
    let (queued, handed, dropped) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let door = Arc::new(Door { bound, queued, handed, dropped, losses: Mutex::default() });
    let (blocks, open) = (receiver, Shelf::default());
    let receiver = Receiver { blocks, open, door: Arc::clone(&door), ledger: ledger.clone() };
    (Sender { blocks: sender, door, ledger }, receiver)
}

impl Sender {
    /// Hands over what was said at once: a line, or several with line feeds between them. When the
    /// queue is full they are dropped and counted, because a dyno, the router and the API must
    /// never wait for the logs.
    pub fn send(&self, said: Line) {
        intake::blocks(said, |block| {
            self.count(&block.app, block.lines() as u64);
            self.hand_over(block);
        });
    }

    /// The same for several lines of one app, counted at once.
    pub fn send_all(&self, app: &AppId, lines: impl Iterator<Item = Line>) {
        let mut blocks = Vec::new();
        lines.for_each(|line| intake::blocks(line, |block| blocks.push(block)));
        self.count(app, blocks.iter().map(|block| block.lines() as u64).sum());
        for block in blocks {
            self.hand_over(block);
        }
    }

    /// Counts lines as lost that should have come here, `since` the first of them.
    pub fn lost(&self, app: &AppId, lines: u64, since: Timestamp) {
        self.count(app, lines);
        self.door.lost(app, lines, since);
    }

    fn count(&self, app: &AppId, lines: u64) {
        if let Some(ledger) = &self.ledger {
            ledger.add(app, lines);
        }
    }

    /// As many of the lines as there is room for.
    fn hand_over(&self, mut block: Block) {
        use mpsc::error::TrySendError::{Closed, Full};
        let room = self.door.enter(block.lines());
        if room == 0 {
            return self.door.turn_away(&block);
        }
        if room < block.lines() {
            let first = block.split_to(room);
            self.door.turn_away(&block);
            block = first;
        }
        if let Err(Full(block) | Closed(block)) = self.blocks.try_send(block) {
            self.door.leave(block.lines());
            self.door.handed.fetch_sub(block.lines() as u64, Ordering::AcqRel);
            self.door.turn_away(&block);
        }
    }

    /// Lines dropped at this door since the start.
    pub fn dropped(&self) -> u64 {
        self.door.dropped.load(Ordering::Relaxed)
    }
}

impl Receiver {
    /// The next line; `None` once every `Sender` is gone and the queue is empty.
    pub async fn recv(&mut self) -> Option<Line> {
        if self.open.is_empty() {
            let block = self.blocks.recv().await?;
            self.receive(block);
        }
        self.open.pop().map(|entry| entry.line)
    }

    pub fn try_recv(&mut self) -> Result<Line, mpsc::error::TryRecvError> {
        if self.open.is_empty() {
            let block = self.blocks.try_recv()?;
            self.receive(block);
        }
        self.open.pop().map(|entry| entry.line).ok_or(mpsc::error::TryRecvError::Empty)
    }

    fn receive(&mut self, block: Block) {
        self.door.leave(block.lines());
        self.open.push(block);
    }

    /// Waits for at least one line and moves up to `limit` into `batch`; 0 when the queue has ended.
    /// One that is not waited for to the end has taken nothing.
    pub async fn recv_lines(&mut self, batch: &mut Vec<Line>, limit: usize) -> usize {
        if self.open.is_empty() {
            let Some(block) = self.blocks.recv().await else { return 0 };
            self.receive(block);
        }
        self.try_recv_lines(batch, limit)
    }

    /// The same of those that are there.
    pub fn try_recv_lines(&mut self, batch: &mut Vec<Line>, limit: usize) -> usize {
        let lines = std::iter::from_fn(|| self.try_recv().ok()).take(limit);
        let before = batch.len();
        batch.extend(lines);
        batch.len() - before
    }

    /// Waits for at least one block and moves blocks into `batch` until there are `limit` lines or
    /// nothing is left; false when the queue has ended.
    pub(crate) async fn recv_many(&mut self, batch: &mut Vec<Block>, limit: usize) -> bool {
        let Some(block) = self.blocks.recv().await else { return false };
        self.door.leave(block.lines());
        batch.push(block);
        self.try_recv_many(batch, limit);
        true
    }

    /// The same of those that are there, until `batch` has `limit` lines.
    pub(crate) fn try_recv_many(&mut self, batch: &mut Vec<Block>, limit: usize) {
        let before = batch.iter().map(Block::lines).sum();
        let mut lines: usize = before;
        while lines < limit
            && let Ok(block) = self.blocks.try_recv()
        {
            lines += block.lines();
            batch.push(block);
        }
        self.door.leave(lines - before);
    }

    /// From now on every line is dropped at the door; what is queued can still be received.
    pub(crate) fn close(&mut self) {
        self.blocks.close();
    }

    pub(crate) fn ledger(&self) -> Option<Arc<Ledger>> {
        self.ledger.clone()
    }

    pub(crate) fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// Lines lost since the last call, by app, and since when.
    pub fn losses(&self) -> Vec<(AppId, u64, Timestamp)> {
        let losses = self.take_losses().into_iter();
        losses.filter_map(|(app, mut loss)| loss.take().map(|(n, since)| (app, n, since))).collect()
    }

    /// The losses since the last call, by app.
    pub(crate) fn take_losses(&self) -> BTreeMap<AppId, Loss> {
        std::mem::take(&mut *self.door.losses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Door {
    /// How many lines have been let in: when as many have come out, all of them have.
    pub(crate) fn handed(&self) -> u64 {
        self.handed.load(Ordering::Acquire)
    }

    /// Makes room for up to `lines`; for how many there was some.
    fn enter(&self, lines: usize) -> usize {
        let room = |queued: usize| lines.min(self.bound.saturating_sub(queued));
        let add = |queued| Some(queued + room(queued));
        let (order, look) = (Ordering::AcqRel, Ordering::Acquire);
        let entered = self.queued.fetch_update(order, look, add).map_or(0, room);
        // Before they are in the queue: whoever is in front of a line is counted when it is.
        self.handed.fetch_add(entered as u64, order);
        entered
    }

    fn leave(&self, lines: usize) {
        self.queued.fetch_sub(lines, Ordering::AcqRel);
    }

    fn turn_away(&self, block: &Block) {
        self.lost(&block.app, block.lines() as u64, block.time);
    }

    fn lost(&self, app: &AppId, lines: u64, since: Timestamp) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
        let mut apps = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
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
        let (sender, mut receiver) = channel(4);
        let said = |app: &str, second, text: &'static str| Line {
            app: AppId::new(app),
            time: Timestamp::constant(second, 0),
            source: Source::App,
            process: Arc::from("web.1"),
            text: Bytes::from_static(text.as_bytes()),
        };
        sender.send(said("a", 1, "one"));
        sender.send(said("a", 2, "two\nthree\nfour\nfive\nsix\n"));
        sender.send(said("a", 3, "seven"));
        sender.send(said("b", 9, "eight"));
        sender.lost(&AppId::new("c"), 7, Timestamp::constant(8, 0));
        assert_eq!(sender.dropped(), 4 + 7);
        let losses = receiver.take_losses();
        let since = Some(Timestamp::constant(2, 0));
        assert_eq!(losses[&AppId::new("a")], Loss { lines: 3, since });
        assert_eq!(losses[&AppId::new("b")].lines, 1);
        assert_eq!(losses[&AppId::new("c")].lines, 7);
        assert!(receiver.take_losses().is_empty());
        let mut heard = || receiver.try_recv().map(|line| line.text);
        for text in ["one", "two", "three", "four"] {
            assert_eq!(heard().unwrap(), text);
        }
        assert!(heard().is_err());
        sender.send(said("b", 9, "there is room again"));
        assert!(heard().is_ok());
    }
}
