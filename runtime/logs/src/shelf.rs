//! Blocks in order, counted by lines and bytes, from which the oldest lines go first.

use crate::block::Block;
use crate::{Cursor, Entry};
use jiff::Timestamp;
use std::collections::VecDeque;

/// Memory of a block beside its text and process, roughly.
const BLOCK_OVERHEAD_BYTES: usize = 128;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shelf {
    blocks: VecDeque<Block>,
    lines: usize,
    bytes: usize,
}

/// Lines that had to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) lines: u64,
    /// When the first of them was written.
    pub(crate) since: Timestamp,
    /// The place of the last of them.
    pub(crate) last: Cursor,
}

impl Shelf {
    pub(crate) fn push(&mut self, block: Block) {
        self.lines += block.lines();
        self.bytes += size(&block);
        self.blocks.push_back(block);
    }

    /// Puts all of `before` in front of what is here.
    pub(crate) fn prepend(&mut self, before: Self) {
        self.lines += before.lines;
        self.bytes += before.bytes;
        before.blocks.into_iter().rev().for_each(|block| self.blocks.push_front(block));
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn blocks(&self) -> impl DoubleEndedIterator<Item = &Block> + Clone {
        self.blocks.iter()
    }

    pub(crate) fn first(&self) -> Option<&Block> {
        self.blocks.front()
    }

    pub(crate) fn last(&self) -> Option<&Block> {
        self.blocks.back()
    }

    /// The first line by itself.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        let head = self.blocks.front()?.head();
        self.take(1);
        Some(head)
    }

    /// The first block, or no more than `lines` of it; `None` when it is empty or `lines` is 0.
    pub(crate) fn take(&mut self, lines: usize) -> Option<Block> {
        let front = self.blocks.front_mut().filter(|_| lines > 0)?;
        self.bytes -= size(front);
        let taken = if front.lines() > lines {
            let taken = front.split_to(lines);
            self.bytes += size(front);
            taken
        } else {
            self.blocks.pop_front()?
        };
        self.lines -= taken.lines();
        Some(taken)
    }

    /// Lets the oldest go until there are no more than so many lines and bytes.
    pub(crate) fn trim(&mut self, lines: usize, bytes: usize) -> Option<Gone> {
        let mut gone: Option<Gone> = None;
        loop {
            let many = match self.lines.saturating_sub(lines) {
                0 => usize::from(self.bytes > bytes),
                many => many,
            };
            let Some(taken) = self.take(many) else { return gone };
            let before = gone.map_or(0, |gone| gone.lines);
            gone = Some(Gone {
                lines: before + taken.lines() as u64,
                since: gone.map_or(taken.time, |gone| gone.since),
                last: taken.last(),
            });
        }
    }
}

fn size(block: &Block) -> usize {
    block.text().len() + block.process.len() + BLOCK_OVERHEAD_BYTES
}

impl Extend<Block> for Shelf {
    fn extend<I: IntoIterator<Item = Block>>(&mut self, blocks: I) {
        blocks.into_iter().for_each(|block| self.push(block));
    }
}

impl FromIterator<Block> for Shelf {
    fn from_iter<I: IntoIterator<Item = Block>>(blocks: I) -> Self {
        let mut shelf = Self::default();
        shelf.extend(blocks);
        shelf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::tests::{block, entries};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_oldest_lines_go_and_are_counted(
            blocks in prop::collection::vec(prop::collection::vec("[a-z]{0,40}", 1..9), 1..20),
            lines in 0usize..60, bytes in 0usize..6000, popped in 0usize..9,
        ) {
            let mut shelf = Shelf::default();
            for texts in &blocks {
                shelf.push(block(shelf.last().map_or(1, |last| last.last().0 + 1), texts));
            }
            let before: Vec<Entry> = shelf.blocks().flat_map(entries).collect();
            for want in before.iter().take(popped) {
                prop_assert_eq!(shelf.pop(), Some(want.clone()));
            }
            let held = shelf.lines();
            let gone = shelf.trim(lines, bytes);
            prop_assert!(shelf.lines() <= lines && shelf.bytes() <= bytes);
            prop_assert_eq!(shelf.lines() as u64 + gone.map_or(0, |gone| gone.lines), held as u64);
            let after: Vec<Entry> = shelf.blocks().flat_map(entries).collect();
            prop_assert_eq!(after.len(), shelf.lines());
            prop_assert_eq!(shelf.bytes(), shelf.blocks().map(size).sum::<usize>());
            prop_assert!(before.ends_with(&after));
            if let Some(gone) = gone {
                prop_assert_eq!(gone.last.0, (before.len() - after.len()) as u64);
            }
        }
    }
}
