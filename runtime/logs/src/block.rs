//! Lines of one process that go through the log as one piece: queued, kept, sent and counted together.

use crate::{AppId, Cursor, Entry, Line, Source};
use bytes::Bytes;
use jiff::Timestamp;
use std::ops::Range;
use std::sync::Arc;

/// What one process wrote at one time: a line at least, each clean and ended by a line feed.
///
/// Cheap to clone and to cut: ring, tails and drains share the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    /// The place of the first line; those of the others follow by ones. The ring gives it.
    pub(crate) first: Cursor,
    pub(crate) app: AppId,
    pub(crate) time: Timestamp,
    pub(crate) source: Source,
    pub(crate) process: Arc<str>,
    text: Bytes,
    lines: usize,
}

impl Block {
    /// The lines of `text` as said by the one who said `line`; `None` when there is none.
    pub(crate) fn new(line: Line, text: Bytes) -> Option<Self> {
        let Line { app, time, source, process, .. } = line;
        let lines = memchr::memchr_iter(b'\n', &text).count();
        (lines > 0).then_some(Self { first: Cursor(0), app, time, source, process, text, lines })
    }

    /// The same lines at a place.
    pub(crate) fn at(self, first: Cursor) -> Self {
        Self { first, ..self }
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    pub(crate) fn text(&self) -> &Bytes {
        &self.text
    }

    pub(crate) fn last(&self) -> Cursor {
        Cursor(self.first.0 + self.lines as u64 - 1)
    }

    /// Each line with its line feed.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        memchr::memchr_iter(b'\n', &self.text).map(move |end| {
            let text = self.text.get(from..=end).unwrap_or_default();
            from = end + 1;
            text
        })
    }

    /// Takes the first `lines` off. There must be more.
    pub(crate) fn split_to(&mut self, lines: usize) -> Self {
        debug_assert!((1..self.lines).contains(&lines), "both parts have a line");
        let end = memchr::memchr_iter(b'\n', &self.text).nth(lines - 1);
        let head = Self {
            text: self.text.split_to(end.map_or(self.text.len(), |end| end + 1)),
            lines,
            ..self.clone()
        };
        self.first.0 += lines as u64;
        self.lines -= lines;
        head
    }

    /// The lines whose places are in the range.
    pub(crate) fn within(&self, places: &Range<Cursor>) -> Option<Self> {
        let end = places.end.min(Cursor(self.last().0 + 1));
        let start = places.start.max(self.first);
        if start >= end {
            return None;
        }
        let mut part = self.clone();
        if start > part.first {
            part.split_to(usize::try_from(start.0 - part.first.0).ok()?);
        }
        let lines = usize::try_from(end.0 - start.0).ok()?;
        Some(if lines < part.lines { part.split_to(lines) } else { part })
    }

    /// The first line by itself.
    pub(crate) fn head(&self) -> Entry {
        let end = memchr::memchr(b'\n', &self.text).unwrap_or(self.text.len());
        let line = Line {
            app: self.app.clone(),
            time: self.time,
            source: self.source,
            process: Arc::clone(&self.process),
            text: self.text.slice(..end),
        };
        Entry { cursor: self.first, line }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// So many lines of these texts, the first at `first`.
    pub(crate) fn block(first: u64, texts: &[impl AsRef<str>]) -> Block {
        let line = Line {
            app: AppId::new("a"),
            time: Timestamp::UNIX_EPOCH,
            source: Source::App,
            process: Arc::from("web.1"),
            text: Bytes::new(),
        };
        let text: String = texts.iter().flat_map(|text| [text.as_ref(), "\n"]).collect();
        Block::new(line, Bytes::from(text)).unwrap().at(Cursor(first))
    }

    /// Every line of it by itself.
    pub(crate) fn entries(block: &Block) -> Vec<Entry> {
        let last = Cursor(block.last().0 + 1);
        (block.first.0..last.0)
            .map(|at| block.within(&(Cursor(at)..Cursor(at + 1))).unwrap().head())
            .collect()
    }

    #[test]
    fn without_a_line_there_is_no_block() {
        let whole = block(7, &["one", "", "three"]);
        assert_eq!((whole.lines(), whole.last()), (3, Cursor(9)));
        assert_eq!(whole.texts().collect::<Vec<_>>(), [&b"one\n"[..], b"\n", b"three\n"]);
        let said = whole.head().line;
        assert_eq!(Block::new(said.clone(), Bytes::from_static(b"unfinished")), None);
        assert_eq!(Block::new(said, Bytes::new()), None);
    }

    proptest! {
        #[test]
        fn parts_are_what_they_were_in_the_whole(
            texts in prop::collection::vec("[a-z]{0,5}", 1..20), first in 0u64..50,
            start in 0u64..80, length in 0u64..80,
        ) {
            let whole = block(first, &texts);
            let places = Cursor(start)..Cursor(start + length);
            let want: Vec<_> = entries(&whole)
                .into_iter()
                .filter(|entry| places.contains(&entry.cursor))
                .collect();
            let part = whole.within(&places);
            prop_assert_eq!(part.as_ref().map(entries).unwrap_or_default(), want);
            prop_assert!(part.is_none_or(|part| part.lines() == part.texts().count()));
        }
    }
}
