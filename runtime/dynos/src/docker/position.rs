//! How far a stream of a dyno's output has been read: what is out of our pipe counts, what is in it
//! does not. Pure.

use std::collections::VecDeque;

/// What is on its way through a pipe, each piece with the time up to which all is told with it.
#[derive(Debug, Default)]
pub(super) struct Position {
    written: u64,
    under_way: VecDeque<(u64, i128)>,
}

impl Position {
    /// So many bytes were put into the pipe; with them all is told up to that time.
    pub(super) fn wrote(&mut self, bytes: usize, told_ns: i128) {
        self.written += bytes as u64;
        self.under_way.push_back((self.written, told_ns));
    }

    /// Up to when all has been taken out, when so many bytes are still in the pipe; none when nothing
    /// has been since it was last asked.
    pub(super) fn read(&mut self, unread: u64) -> Option<i128> {
        let mut newest = None;
        while let Some((end, told_ns)) = self.under_way.front().copied() {
            if end > self.written.saturating_sub(unread) {
                break;
            }
            newest = Some(told_ns);
            self.under_way.pop_front();
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_when_it_is_out() {
        let mut position = Position::default();
        position.wrote(10, 1);
        position.wrote(5, 3);
        assert_eq!(position.read(15), None);
        assert_eq!(position.read(6), None, "the first is not quite out");
        assert_eq!(position.read(5), Some(1));
        assert_eq!(position.read(1), None);
        position.wrote(10, 4);
        assert_eq!(position.read(10), Some(3));
        assert_eq!(position.read(0), Some(4));
        assert_eq!(position.read(0), None);
    }
}
