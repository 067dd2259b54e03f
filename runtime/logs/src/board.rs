//! Everything the hub holds, by app: rings, readers and counts.

use crate::block::Block;
use crate::drain::Routes;
use crate::journal::{Account, Kept, Rows};
use crate::loss::Loss;
use crate::ring::{Bounds, Ring};
use crate::tail::Mailbox;
use crate::{AppId, Counts, Cursor, Filter, Line, Policy, Source, Tail, TailError, human, intake};
use bytes::Bytes;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Board {
    policy: Policy,
    channels: HashMap<AppId, Channel>,
    /// Outlive the channels: a silent app's lines go, its counts stay.
    accounts: HashMap<AppId, Account>,
    drains: Routes,
    /// What is to be written into the journal next; `None` without one.
    rows: Option<Rows>,
    /// Apps that have had a line since then.
    touched: HashSet<AppId>,
    /// Lines that came in at the door since the start.
    taken: watch::Sender<u64>,
    /// Nothing comes any more, so there is nothing to follow.
    stopped: bool,
}

#[derive(Debug, Default)]
struct Channel {
    ring: Ring,
    tails: Vec<Arc<Mailbox>>,
}

impl Board {
    /// A `journaled` board says what is to be written down.
    pub(crate) fn new(policy: Policy, journaled: bool) -> Self {
        Self {
            policy,
            channels: HashMap::new(),
            accounts: HashMap::new(),
            drains: Routes::new(),
            rows: journaled.then(Rows::default),
            touched: HashSet::new(),
            taken: watch::Sender::new(0),
            stopped: false,
        }
    }

    /// Takes lines in that came through the door.
    pub(crate) fn take(&mut self, block: Block, now: Timestamp) {
        let taken = block.lines() as u64;
        self.post(block, taken, now);
        self.taken.send_modify(|sum| *sum += taken);
    }

    /// How many lines have come in at the door.
    pub(crate) fn taken(&self) -> watch::Receiver<u64> {
        self.taken.subscribe()
    }

    /// Takes a line of the hub's own in.
    pub(crate) fn say(&mut self, line: Line, now: Timestamp) {
        intake::blocks(line, |block| self.post(block, 0, now));
    }

    /// Counts lines lost on the way here and tells the app (Heroku Dev Center, Error Codes: L12).
    pub(crate) fn lost(&mut self, app: &AppId, mut loss: Loss, now: Timestamp) {
        if let Some((lines, since)) = loss.take() {
            let since = human::seconds(since);
            let text = format!("Error L12: {lines} messages dropped since {since}.");
            self.tell_loss(app, lines, text, now);
        }
    }

    /// Counts the lines that an earlier run was sent and never wrote down, because it was killed,
    /// and tells the app (Heroku Dev Center, Error Codes: L13). `sent` is how many it was sent.
    pub(crate) fn reconcile(&mut self, app: &AppId, sent: u64, now: Timestamp) {
        let account = *self.account(app);
        let lines = sent.saturating_sub(account.taken + account.dropped);
        if lines > 0 {
            let newest = self.channels.get(app).and_then(|channel| channel.ring.blocks().last());
            let since = human::seconds(newest.map_or(now, |block| block.time));
            let text = format!("Error L13: {lines} messages lost since {since}.");
            self.tell_loss(app, lines, text, now);
        }
    }

    fn tell_loss(&mut self, app: &AppId, lines: u64, text: String, now: Timestamp) {
        self.account(app).dropped += lines;
        let (process, text) = (Arc::from("log-shuttle"), Bytes::from(text));
        self.say(Line { app: app.clone(), time: now, source: Source::App, process, text }, now);
    }

    /// Lines to ring, readers, drains and journal; `taken` of them came in at the door.
    fn post(&mut self, block: Block, taken: u64, now: Timestamp) {
        let tail_lines = self.policy.tail_lines;
        let account = self.account(&block.app);
        account.taken += taken;
        account.posted += block.lines() as u64;
        let (channel, bounds) = self.channel(&block.app);
        let block = channel.ring.push(block, now, bounds);
        channel.tails.retain(|mailbox| !mailbox.has_ended());
        for mailbox in &channel.tails {
            mailbox.offer(&block, tail_lines, now);
        }
        for (_, queue) in self.drains.get(&block.app).into_iter().flatten() {
            queue.offer(&block, now);
        }
        if let Some(rows) = &mut self.rows {
            rows.block(&block);
        }
    }

    /// Moves what is to be written into the journal now to `rows`: lines, then where that leaves
    /// each drain and app.
    pub(crate) fn write_down(&mut self, rows: &mut Rows) {
        let Some(written) = &mut self.rows else { return };
        for app in self.touched.drain() {
            for (drain, queue) in self.drains.get(&app).into_iter().flatten() {
                written.mark(&queue.mark(drain));
            }
            // Last: the account is what makes the rest count.
            if let Some(account) = self.accounts.get(&app) {
                written.account(&app, *account);
            }
        }
        rows.clear();
        std::mem::swap(written, rows);
    }

    /// The same for drains that have got rid of lines since.
    pub(crate) fn write_moves(&mut self, rows: &mut Rows) {
        let Some(written) = &mut self.rows else { return };
        for (drain, queue) in self.drains.values().flatten() {
            if queue.has_moved() {
                written.mark(&queue.mark(drain));
            }
        }
        rows.clear();
        std::mem::swap(written, rows);
    }

    /// From now on lines go to these drains.
    pub(crate) fn route(&mut self, drains: Routes) {
        self.drains = drains;
    }

    /// Backlog and following begin under one borrow, so nothing falls between them or comes twice.
    pub(crate) fn tail(
        &mut self,
        app: &AppId,
        filter: Filter,
        follow: bool,
    ) -> Result<Tail, TailError> {
        let (tails_max, follow) = (self.policy.tails_per_app, follow && !self.stopped);
        let (channel, _) = self.channel(app);
        channel.tails.retain(|mailbox| !mailbox.has_ended());
        if follow && channel.tails.len() >= tails_max {
            return Err(TailError::TooMany { app: app.clone(), max: tails_max });
        }
        let backlog = channel.ring.backlog(&filter);
        let mailbox = follow.then(|| Arc::new(Mailbox::new(filter)));
        channel.tails.extend(mailbox.clone());
        Ok(Tail::new(app.clone(), backlog, mailbox))
    }

    /// Housekeeping: what is too old goes, and readers that stopped reading.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        for channel in self.channels.values_mut() {
            channel.ring.expire(now, self.policy.expiry);
            for mailbox in &channel.tails {
                mailbox.end_if_stalled(now, self.policy.tail_stall);
            }
            channel.tails.retain(|mailbox| !mailbox.has_ended());
        }
        self.channels.retain(|_, channel| channel.ring.stored() > 0 || !channel.tails.is_empty());
    }

    pub(crate) fn forget(&mut self, app: &AppId) {
        if let Some(channel) = self.channels.remove(app) {
            channel.tails.iter().for_each(|mailbox| mailbox.finish());
        }
        self.accounts.remove(app);
        self.touched.remove(app);
    }

    /// Readers read what is theirs and then see the end.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        for channel in self.channels.values_mut() {
            channel.tails.drain(..).for_each(|mailbox| mailbox.finish());
        }
    }

    pub(crate) fn counts(&self, app: &AppId) -> Counts {
        let queues = self.drains.get(app).into_iter().flatten();
        let drains = queues.map(|(drain, queue)| (drain.id.clone(), queue.counts())).collect();
        let Account { dropped, posted, .. } = self.accounts.get(app).copied().unwrap_or_default();
        let stored = self.channels.get(app).map_or(0, |channel| channel.ring.stored());
        Counts { emitted: dropped + posted, dropped, stored, evicted: posted - stored, drains }
    }

    /// The apps that have ever had a line.
    pub(crate) fn apps(&self) -> Vec<AppId> {
        self.accounts.keys().cloned().collect()
    }

    /// Everything that another run needs: what rings hold, and what drains owe although their ring
    /// has let it go.
    pub(crate) fn kept(&self) -> Kept {
        let mut kept = Kept { accounts: self.accounts.clone(), ..Kept::default() };
        for app in self.accounts.keys() {
            let queues = self.drains.get(app).into_iter().flatten();
            let ring = self.channels.get(app).into_iter().flat_map(|channel| channel.ring.blocks());
            let held = ring.clone().next().map_or(Cursor(u64::MAX), |block| block.first);
            let mut owed: Vec<Block> =
                queues.clone().flat_map(|(_, queue)| queue.pending()).collect();
            owed.sort_by_key(|block| block.first);
            // Drains owe parts of the same blocks.
            let mut next = Cursor(0);
            for block in owed {
                if let Some(part) = block.within(&(next..held)) {
                    next = Cursor(part.last().0 + 1);
                    kept.blocks.push(part);
                }
            }
            kept.blocks.extend(ring.cloned());
            kept.marks.extend(queues.map(|(drain, queue)| queue.mark(drain)));
        }
        kept
    }

    /// Takes back what an earlier run has left.
    pub(crate) fn restore(&mut self, kept: Kept) {
        self.accounts = kept.accounts;
        for block in kept.blocks {
            let (channel, bounds) = self.channel(&block.app);
            channel.ring.restore(&block, bounds);
        }
        for (app, channel) in &self.channels {
            // A file that was cut short may lack the account of its last lines.
            let account = self.accounts.entry(app.clone()).or_default();
            account.posted = account.posted.max(channel.ring.stored());
        }
    }

    fn account(&mut self, app: &AppId) -> &mut Account {
        if self.rows.is_some() && !self.touched.contains(app) {
            self.touched.insert(app.clone());
        }
        self.accounts.entry(app.clone()).or_default()
    }

    /// The app's channel and what its ring may hold; a new one makes every app's share smaller.
    fn channel(&mut self, app: &AppId) -> (&mut Channel, Bounds) {
        if !self.channels.contains_key(app) {
            self.channels.insert(app.clone(), Channel::default());
            let bounds = self.bounds();
            if bounds.bytes < self.policy.ring_bytes {
                self.channels.values_mut().for_each(|channel| channel.ring.trim(bounds));
            }
        }
        let bounds = self.bounds();
        (self.channels.entry(app.clone()).or_default(), bounds)
    }

    /// What one ring may hold: its own bound, or its share of the whole where that is less.
    fn bounds(&self) -> Bounds {
        let share = self.policy.total_bytes / self.channels.len().max(1);
        Bounds { lines: self.policy.ring_lines, bytes: self.policy.ring_bytes.min(share) }
    }
}
