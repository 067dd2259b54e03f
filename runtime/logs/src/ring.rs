//! The newest lines of one app: bounded in lines, bytes and age.

use crate::{Cursor, Entry, Filter, Line};
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;

/// Memory of a line beside its text and process, roughly: entry, `Arc`, `Line`.
const LINE_OVERHEAD_BYTES: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) lines: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    last: Cursor,
}

impl Ring {
    /// Takes a line in at the end and lets the oldest go until the bounds hold again.
    pub(crate) fn push(&mut self, line: Line, now: Timestamp, bounds: Bounds) -> Entry {
        let entry = Entry { cursor: self.last.next(now), line: Arc::new(line) };
        self.hold(entry.clone());
        self.trim(bounds);
        entry
    }

    /// Takes back an entry of an earlier run; one that is not newer than the last is ignored.
    pub(crate) fn restore(&mut self, entry: Entry, bounds: Bounds) {
        if entry.cursor > self.last {
            self.hold(entry);
            self.trim(bounds);
        }
    }

    fn hold(&mut self, entry: Entry) {
        self.last = entry.cursor;
        self.bytes += size(&entry.line);
        self.entries.push_back(entry);
    }

    pub(crate) fn trim(&mut self, bounds: Bounds) {
        while self.entries.len() > bounds.lines || self.bytes > bounds.bytes {
            self.evict();
        }
    }

    /// Lets go of everything taken in more than `age` ago.
    pub(crate) fn expire(&mut self, now: Timestamp, age: SignedDuration) {
        let old = |entry: &Entry| now.duration_since(entry.cursor.time()) > age;
        while self.entries.front().is_some_and(old) {
            self.evict();
        }
    }

    fn evict(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= size(&entry.line);
        }
    }

    /// What a reader begins with, oldest first.
    pub(crate) fn backlog(&self, filter: &Filter) -> VecDeque<Entry> {
        let matching = self.entries().rev().filter(|entry| filter.matches(&entry.line)).cloned();
        let newest_first: Vec<_> = match filter.after {
            Some(after) => matching.take_while(|entry| entry.cursor > after).collect(),
            None => matching.take(filter.lines).collect(),
        };
        newest_first.into_iter().rev().collect()
    }

    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> + Clone {
        self.entries.iter()
    }

    pub(crate) fn stored(&self) -> u64 {
        self.entries.len() as u64
    }
}

fn size(line: &Line) -> usize {
    line.text.len() + line.process.len() + LINE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppId, Source};
    use bytes::Bytes;
    use proptest::prelude::*;

    const EVERYTHING: Filter =
        Filter { source: None, process: None, lines: usize::MAX, after: None };

    fn line(source: Source, process: &str, text: &str) -> Line {
        Line {
            app: AppId::new("a"),
            time: Timestamp::UNIX_EPOCH,
            source,
            process: Arc::from(process),
            text: Bytes::from(text.to_owned()),
        }
    }

    fn texts(entries: &VecDeque<Entry>) -> Vec<&str> {
        entries.iter().map(|entry| std::str::from_utf8(&entry.line.text).unwrap()).collect()
    }

    #[test]
    fn backlog_is_the_newest_matching_lines_in_order() {
        let mut ring = Ring::default();
        let bounds = Bounds { lines: 1500, bytes: 1 << 20 };
        let now = Timestamp::UNIX_EPOCH;
        for at in 0..10 {
            let source = if at % 2 == 0 { Source::App } else { Source::Heroku };
            ring.push(line(source, &format!("web.{}", at % 3), &at.to_string()), now, bounds);
        }
        let pick = |filter: Filter| texts(&ring.backlog(&filter)).join(" ");
        assert_eq!(pick(Filter { lines: 3, ..EVERYTHING }), "7 8 9");
        assert_eq!(pick(Filter { source: Some(Source::App), lines: 2, ..EVERYTHING }), "6 8");
        assert_eq!(pick(Filter { process: Some("web.0".into()), ..EVERYTHING }), "0 3 6 9");
        assert_eq!(pick(Filter { process: Some("web".into()), lines: 1, ..EVERYTHING }), "9");
        assert_eq!(pick(Filter { lines: 0, ..EVERYTHING }), "");
        let sixth = ring.entries().nth(6).unwrap().cursor;
        assert_eq!(pick(Filter { after: Some(sixth), lines: 0, ..EVERYTHING }), "7 8 9");
    }

    proptest! {
        #[test]
        fn bounds_hold_and_every_line_is_counted(
            pushes in proptest::collection::vec((0usize..3000, 0i64..100, any::<bool>()), 0..300),
            lines in 1usize..50, bytes in 1usize..20_000,
        ) {
            let (mut ring, bounds) = (Ring::default(), Bounds { lines, bytes });
            let (mut newest, mut clock) = (Cursor(0), 1_000_000);
            let age = SignedDuration::from_secs(60);
            for (emitted, (length, seconds, backwards)) in pushes.into_iter().enumerate() {
                clock += if backwards { -seconds } else { seconds };
                let now = Timestamp::from_second(clock).unwrap();
                let entry = ring.push(line(Source::App, "web.1", &"x".repeat(length)), now, bounds);
                prop_assert!(entry.cursor > newest);
                newest = entry.cursor;
                ring.expire(now, age);
                prop_assert!(ring.entries.len() <= lines && ring.bytes <= bytes);
                prop_assert_eq!(ring.bytes, ring.entries().map(|entry| size(&entry.line)).sum::<usize>());
                prop_assert!(ring.stored() <= emitted as u64 + 1);
                let all = ring.backlog(&EVERYTHING);
                prop_assert!(all.iter().zip(all.iter().skip(1)).all(|(a, b)| a.cursor < b.cursor));
            }
        }
    }
}
