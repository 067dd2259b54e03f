//! The newest lines of one app: bounded in lines, bytes and age.

use crate::block::Block;
use crate::shelf::Shelf;
use crate::{Cursor, Filter};
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) lines: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Ring {
    held: Shelf,
    last: Cursor,
}

impl Ring {
    /// Takes lines in at the end, gives them their places, and lets the oldest go until the bounds
    /// hold again.
    pub(crate) fn push(&mut self, block: Block, now: Timestamp, bounds: Bounds) -> Block {
        let block = block.at(self.last.next(now));
        self.hold(block.clone());
        self.trim(bounds);
        block
    }

    /// Takes back lines of an earlier run; those that are not newer than the last are ignored.
    pub(crate) fn restore(&mut self, block: &Block, bounds: Bounds) {
        if let Some(newer) = block.within(&(Cursor(self.last.0 + 1)..Cursor(u64::MAX))) {
            self.hold(newer);
            self.trim(bounds);
        }
    }

    fn hold(&mut self, block: Block) {
        self.last = block.last();
        self.held.push(block);
    }

    pub(crate) fn trim(&mut self, bounds: Bounds) {
        self.held.trim(bounds.lines, bounds.bytes);
    }

    /// Lets go of everything taken in more than `age` ago.
    pub(crate) fn expire(&mut self, now: Timestamp, age: SignedDuration) {
        let old = |block: &Block| now.duration_since(block.last().time()) > age;
        while let Some(block) = self.held.first().filter(|block| old(block)) {
            let lines = block.lines();
            self.held.take(lines);
        }
    }

    /// What a reader begins with, oldest first.
    pub(crate) fn backlog(&self, filter: &Filter) -> Shelf {
        let (mut newest_first, mut wanted) = (VecDeque::new(), filter.lines);
        for block in self.blocks().rev().filter(|block| filter.matches(block)) {
            let from = match filter.after {
                Some(after) => Cursor(after.0.saturating_add(1)),
                None => Cursor((block.last().0 + 1).saturating_sub(wanted as u64)),
            };
            let Some(part) = block.within(&(from..Cursor(u64::MAX))) else { break };
            wanted -= part.lines().min(wanted);
            newest_first.push_front(part);
        }
        newest_first.into_iter().collect()
    }

    pub(crate) fn blocks(&self) -> impl DoubleEndedIterator<Item = &Block> + Clone {
        self.held.blocks()
    }

    pub(crate) fn stored(&self) -> u64 {
        self.held.lines() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;
    use crate::block::tests::{block, entries};
    use proptest::prelude::*;
    use std::sync::Arc;

    const EVERYTHING: Filter =
        Filter { source: None, process: None, lines: usize::MAX, after: None };

    #[test]
    fn backlog_is_the_newest_matching_lines_in_order() {
        let mut ring = Ring::default();
        let bounds = Bounds { lines: 1500, bytes: 1 << 20 };
        let now = Timestamp::UNIX_EPOCH;
        for at in 0..10 {
            let source = if at % 2 == 0 { Source::App } else { Source::Heroku };
            let mut said = block(0, &[at.to_string(), format!("{at}!")]);
            (said.source, said.process) = (source, Arc::from(format!("web.{}", at % 3)));
            ring.push(said, now, bounds);
        }
        let pick = |filter: Filter| {
            let mut backlog = ring.backlog(&filter);
            let texts = std::iter::from_fn(|| backlog.pop()).map(|entry| entry.line.text);
            let texts: Vec<_> =
                texts.map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
            texts.join(" ")
        };
        assert_eq!(pick(Filter { lines: 3, ..EVERYTHING }), "8! 9 9!");
        assert_eq!(pick(Filter { source: Some(Source::App), lines: 3, ..EVERYTHING }), "6! 8 8!");
        let of = |process: &str| Filter { process: Some(process.into()), ..EVERYTHING };
        assert_eq!(pick(of("web.0")), "0 0! 3 3! 6 6! 9 9!");
        assert_eq!(pick(Filter { lines: 1, ..of("web") }), "9!");
        assert_eq!(pick(Filter { lines: 0, ..EVERYTHING }), "");
        let sixth = ring.blocks().nth(6).unwrap().first;
        assert_eq!(
            pick(Filter { after: Some(sixth), lines: 0, ..EVERYTHING }),
            "6! 7 7! 8 8! 9 9!"
        );
        assert_eq!(pick(Filter { after: Some(sixth), ..of("web.0") }), "6! 9 9!");
        assert_eq!(pick(Filter { after: Some(Cursor(u64::MAX)), ..EVERYTHING }), "");
    }

    proptest! {
        #[test]
        fn bounds_hold_and_places_grow(
            pushes in prop::collection::vec(
                (prop::collection::vec(0usize..3000, 1..5), 0i64..100, any::<bool>()), 0..100),
            lines in 1usize..50, bytes in 1usize..20_000,
        ) {
            let (mut ring, bounds) = (Ring::default(), Bounds { lines, bytes });
            let (mut newest, mut clock, mut emitted) = (Cursor(0), 1_000_000, 0);
            let age = SignedDuration::from_secs(60);
            for (lengths, seconds, backwards) in pushes {
                clock += if backwards { -seconds } else { seconds };
                let now = Timestamp::from_second(clock).unwrap();
                let texts: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
                let pushed = ring.push(block(0, &texts), now, bounds);
                prop_assert!(pushed.first > newest);
                newest = pushed.last();
                emitted += texts.len() as u64;
                ring.expire(now, age);
                prop_assert!(ring.held.lines() <= lines && ring.held.bytes() <= bytes);
                prop_assert!(ring.stored() <= emitted);
                let backlog = ring.backlog(&EVERYTHING);
                let all: Vec<_> = backlog.blocks().flat_map(entries).collect();
                prop_assert_eq!(all.len() as u64, ring.stored());
                prop_assert!(all.iter().zip(all.iter().skip(1)).all(|(a, b)| a.cursor < b.cursor));
            }
        }
    }
}
