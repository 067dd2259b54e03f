//! Lines on their way to the platform, kept until it has taken them.
//!
//! A line's position is the number of lines before it, lost ones included. The platform says by
//! position how far it has taken lines, also when it is another one than before.

use super::parcel::Item;
use std::collections::VecDeque;

/// Items under way; the rest waits where it is counted when there is no room.
const ITEMS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The position of the first item.
    begin: u64,
    items: VecDeque<Item>,
    /// So many of them were sent on this connection.
    sent: usize,
}

impl Outbox {
    /// How many more items there is room for.
    pub(super) fn room(&self) -> usize {
        ITEMS_MAX.saturating_sub(self.items.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn push(&mut self, item: Item) {
        self.items.push_back(item);
    }

    /// The next to be sent, at most `limit`; they count as sent.
    pub(super) fn next(&mut self, limit: usize) -> impl Iterator<Item = &Item> {
        let begin = self.sent;
        self.sent = self.items.len().min(begin + limit);
        self.items.range(begin..self.sent)
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.items.len()
    }

    /// The platform has everything before `position`.
    pub(super) fn taken(&mut self, position: u64) {
        while let Some(first) = self.items.front() {
            let end = self.begin.saturating_add(first.lines());
            if end > position {
                break;
            }
            self.begin = end;
            self.items.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// A new connection: what the platform has not taken is sent again.
    pub(super) fn rewind(&mut self, position: u64) {
        self.taken(position);
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::parcel::What;
    use super::*;
    use jiff::Timestamp;
    use lathe_logs::AppId;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u64),
        Send(usize),
        /// So much of what is under way reaches the platform.
        Arrive(usize),
        /// The platform's word reaches the router.
        Heard,
        /// Everything under way is lost, the platform's word too.
        Broken,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..4u64).prop_map(Step::Push),
            (1..5usize).prop_map(Step::Send),
            (1..5usize).prop_map(Step::Arrive),
            Just(Step::Heard),
            Just(Step::Broken),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        /// Whatever breaks when, each line is taken once and in order.
        #[test]
        fn every_line_is_taken_once(steps in steps()) {
            let mut outbox = Outbox::default();
            let (mut pushed, mut wire, mut taken) = (0, VecDeque::new(), Vec::new());
            let mut position = 0;
            let end = [Step::Broken, Step::Send(100), Step::Arrive(100), Step::Heard];
            for step in steps.into_iter().chain(end) {
                match step {
                    Step::Push(lines) => {
                        let time = Timestamp::from_second(pushed).unwrap();
                        let what = What::Lost(lines);
                        outbox.push(Item { app: AppId::new("a"), time, what });
                        pushed += 1;
                    }
                    Step::Send(limit) => wire.extend(outbox.next(limit).cloned()),
                    Step::Arrive(many) => {
                        for item in wire.drain(..many.min(wire.len())) {
                            position += item.lines();
                            taken.push(item.time.as_second());
                        }
                    }
                    Step::Heard => outbox.taken(position),
                    Step::Broken => {
                        wire.clear();
                        outbox.rewind(position);
                    }
                }
            }
            prop_assert_eq!(taken, (0..pushed).collect::<Vec<_>>());
            prop_assert!(outbox.is_empty() && outbox.room() == ITEMS_MAX);
        }
    }
}
