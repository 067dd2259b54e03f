//! A reader of one app's log: first what is held, then what comes.

use crate::block::Block;
use crate::clock::steady;
use crate::loss::Loss;
use crate::shelf::Shelf;
use crate::{AppId, Cursor, Entry, Filter, Line, Source, human};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Yields entries in order. A reader that is too slow loses the oldest ones not yet read and is
/// told how many by an L11 line in their place. Dropping it ends the session.
#[derive(Debug)]
pub struct Tail {
    app: AppId,
    backlog: Shelf,
    /// `None` when only the backlog was asked for.
    mailbox: Option<Arc<Mailbox>>,
}

/// Between the hub and one following reader.
#[derive(Debug)]
pub(crate) struct Mailbox {
    filter: Filter,
    post: Mutex<Post>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Post {
    unread: Shelf,
    loss: Loss,
    last_lost: Cursor,
    /// Since when something lies here unread.
    waiting: Option<Timestamp>,
    ended: bool,
}

impl Tail {
    pub(crate) fn new(app: AppId, backlog: Shelf, mailbox: Option<Arc<Mailbox>>) -> Self {
        Self { app, backlog, mailbox }
    }

    /// The next entry; `None` at the end: after the backlog when not following, else when the app
    /// is forgotten, the hub stops, or nobody has read for too long. Safe to cancel.
    pub async fn next(&mut self) -> Option<Entry> {
        if let Some(entry) = self.backlog.pop() {
            return Some(entry);
        }
        let mailbox = self.mailbox.as_ref()?;
        loop {
            {
                let mut post = mailbox.lock();
                if let Some(entry) = post.take(&self.app, steady()) {
                    return Some(entry);
                }
                if post.ended {
                    return None;
                }
            }
            mailbox.ready.notified().await;
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.end();
        }
    }
}

impl Mailbox {
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter, post: Mutex::default(), ready: Notify::new() }
    }

    /// Lays lines down if the reader wants them; beyond `bound` the oldest are lost.
    pub(crate) fn offer(&self, block: &Block, bound: usize, now: Timestamp) {
        if self.filter.matches(block) {
            self.lock().put(block.clone(), bound, now);
            self.ready.notify_one();
        }
    }

    /// Ends the session if something has lain unread for longer than `patience`.
    pub(crate) fn end_if_stalled(&self, now: Timestamp, patience: SignedDuration) {
        let waiting = self.lock().waiting;
        if waiting.is_some_and(|since| now.duration_since(since) > patience) {
            self.end();
        }
    }

    /// What is unread is let go; a reader that comes back is told how much.
    pub(crate) fn end(&self) {
        self.lock().end();
        self.ready.notify_one();
    }

    /// Ends after what is unread has been read.
    pub(crate) fn finish(&self) {
        self.lock().ended = true;
        self.ready.notify_one();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    fn lock(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Post {
    fn put(&mut self, block: Block, bound: usize, now: Timestamp) {
        if self.ended {
            return;
        }
        self.waiting.get_or_insert(now);
        self.unread.push(block);
        self.keep(bound);
    }

    fn keep(&mut self, bound: usize) {
        if let Some(gone) = self.unread.trim(bound, usize::MAX) {
            self.loss.add(gone.lines, gone.since);
            self.last_lost = gone.last;
        }
    }

    fn take(&mut self, app: &AppId, now: Timestamp) -> Option<Entry> {
        let told = self.loss.take().map(|(lines, since)| Entry {
            cursor: self.last_lost,
            line: overflow(app, lines, since, now),
        });
        let entry = told.or_else(|| self.unread.pop());
        self.waiting = (!self.unread.is_empty()).then_some(now);
        entry
    }

    fn end(&mut self) {
        self.keep(0);
        self.waiting = None;
        self.ended = true;
    }
}

/// Heroku Dev Center, Error Codes: L11.
fn overflow(app: &AppId, lines: u64, since: Timestamp, now: Timestamp) -> Line {
    let since = human::seconds(since);
    let text = format!(
        "L11 (Tail buffer overflow) -> This tail session dropped {lines} messages since {since}"
    );
    Line {
        app: app.clone(),
        time: now,
        source: Source::Heroku,
        process: Arc::from("logplex"),
        text: Bytes::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::tests::block;

    fn said(first: u64, lines: u64) -> Block {
        let texts: Vec<_> = (first..first + lines).map(|at| at.to_string()).collect();
        let mut said = block(first, &texts);
        said.time = Timestamp::constant(1_304_443_500, 0);
        said
    }

    fn everything() -> Filter {
        Filter { source: None, process: None, lines: 0, after: None }
    }

    fn text(entry: Option<Entry>) -> Option<String> {
        entry.map(|entry| String::from_utf8(entry.line.text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_lost() {
        let mailbox = Arc::new(Mailbox::new(everything()));
        let mut tail = Tail::new(AppId::new("a"), Shelf::default(), Some(mailbox.clone()));
        for (first, lines) in [(0, 1), (1, 700), (701, 400), (1101, 10)] {
            mailbox.offer(&said(first, lines), 10, Timestamp::UNIX_EPOCH);
        }
        let told = tail.next().await.unwrap();
        assert_eq!(told.cursor, Cursor(1100));
        assert_eq!(
            text(Some(told)).unwrap(),
            "L11 (Tail buffer overflow) -> This tail session dropped 1101 messages since 2011-05-03T17:25:00+00:00"
        );
        for at in 1101..1111 {
            assert_eq!(tail.next().await.unwrap().cursor, Cursor(at));
        }
        mailbox.finish();
        assert_eq!(tail.next().await, None);
    }

    #[tokio::test]
    async fn a_stalled_reader_is_ended_and_keeps_nothing() {
        let mailbox = Arc::new(Mailbox::new(everything()));
        let mut tail = Tail::new(AppId::new("a"), Shelf::default(), Some(mailbox.clone()));
        let at = |second| Timestamp::constant(second, 0);
        let patience = SignedDuration::from_secs(300);
        mailbox.end_if_stalled(at(9000), patience);
        assert!(!mailbox.has_ended(), "a silent app is no stalled reader");
        for n in 0..3 {
            mailbox.offer(&said(n, 1), 10, at(1000));
        }
        mailbox.end_if_stalled(at(1300), patience);
        assert!(!mailbox.has_ended());
        mailbox.end_if_stalled(at(1301), patience);
        assert!(mailbox.has_ended());
        assert!(mailbox.lock().unread.is_empty());
        assert!(text(tail.next().await).unwrap().contains("dropped 3 messages"));
        assert_eq!(tail.next().await, None);
    }
}
