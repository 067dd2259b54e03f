//! Everything the hub holds, by app: rings, readers and counts.

use crate::drain::Routes;
use crate::loss::Loss;
use crate::ring::{Bounds, Ring};
use crate::tail::Mailbox;
use crate::{AppId, Counts, Entry, Filter, Line, Policy, Source, Tail, TailError, human, intake};
use bytes::Bytes;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Board {
    policy: Policy,
    channels: HashMap<AppId, Channel>,
    drains: Routes,
    /// Nothing comes any more, so there is nothing to follow.
    stopped: bool,
}

#[derive(Debug, Default)]
struct Channel {
    ring: Ring,
    tails: Vec<Arc<Mailbox>>,
    /// Lines lost before they came here.
    dropped: u64,
}

impl Board {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, channels: HashMap::new(), drains: Routes::new(), stopped: false }
    }

    /// Takes a line of a producer in.
    pub(crate) fn take(&mut self, line: Line, now: Timestamp) {
        for line in intake::lines(line) {
            self.post(line, now);
        }
    }

    /// Counts lines lost on the way here and tells the app (Heroku Dev Center, Error Codes: L12).
    pub(crate) fn lost(&mut self, app: AppId, mut loss: Loss, now: Timestamp) {
        let Some((lines, since)) = loss.take() else { return };
        self.channel(&app).dropped += lines;
        let since = human::seconds(since);
        let text = format!("Error L12: {lines} messages dropped since {since}.");
        let process = Arc::from("log-shuttle");
        let text = Bytes::from(text);
        self.post(Line { app, time: now, source: Source::App, process, text }, now);
    }

    /// One clean line to ring, readers and drains.
    fn post(&mut self, line: Line, now: Timestamp) {
        let tail_lines = self.policy.tail_lines;
        let app = line.app.clone();
        self.channel(&app);
        let bounds = self.bounds();
        let channel = self.channel(&app);
        let entry = channel.ring.push(line, now, bounds);
        channel.tails.retain(|mailbox| !mailbox.has_ended());
        for mailbox in &channel.tails {
            mailbox.offer(&entry, tail_lines, now);
        }
        for (_, queue) in self.drains.get(&app).into_iter().flatten() {
            queue.offer(&entry, now);
        }
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
        let channel = self.channel(app);
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
        let drains = queues.map(|(id, queue)| (id.clone(), queue.counts())).collect();
        let Some(channel) = self.channels.get(app) else {
            return Counts { drains, ..Counts::default() };
        };
        let (dropped, stored, evicted) =
            (channel.dropped, channel.ring.stored(), channel.ring.evicted());
        Counts { emitted: dropped + stored + evicted, dropped, stored, evicted, drains }
    }

    /// Every entry held, by app in order, for the spool.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.channels.values().flat_map(|channel| channel.ring.entries()).cloned().collect()
    }

    /// Takes back what an earlier run had spooled.
    pub(crate) fn restore(&mut self, entry: Entry) {
        let app = entry.line.app.clone();
        self.channel(&app);
        let bounds = self.bounds();
        self.channel(&app).ring.restore(entry, bounds);
    }

    /// The app's channel; a new one makes every app's share smaller.
    fn channel(&mut self, app: &AppId) -> &mut Channel {
        if !self.channels.contains_key(app) {
            self.channels.insert(app.clone(), Channel::default());
            let bounds = self.bounds();
            if bounds.bytes < self.policy.ring_bytes {
                self.channels.values_mut().for_each(|channel| channel.ring.trim(bounds));
            }
        }
        self.channels.entry(app.clone()).or_default()
    }

    /// What one ring may hold: its own bound, or its share of the whole where that is less.
    fn bounds(&self) -> Bounds {
        let share = self.policy.total_bytes / self.channels.len().max(1);
        Bounds { lines: self.policy.ring_lines, bytes: self.policy.ring_bytes.min(share) }
    }
}
