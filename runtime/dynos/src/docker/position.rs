//! How far a dyno's output has been read: what is out of our pipes counts, what is in them does not.
//! Pure.

use std::collections::VecDeque;

/// Lines on their way through two pipes, each with its time.
#[derive(Debug, Default)]
pub(super) struct Position {
    written: [u64; 2],
    under_way: VecDeque<(usize, u64, i128)>,
}

impl Position {
    /// So many bytes of a line of that time were put into a pipe.
    pub(super) fn wrote(&mut self, pipe: usize, bytes: usize, time_ns: i128) {
        self.written[pipe] += bytes as u64;
        self.under_way.push_back((pipe, self.written[pipe], time_ns));
    }

    /// The time of the newest line that, with all before it, has been taken out, when so many bytes
    /// are still in the pipes; none when nothing has been since it was last asked.
    pub(super) fn read(&mut self, unread: [u64; 2]) -> Option<i128> {
        let mut newest = None;
        while let Some((pipe, end, time_ns)) = self.under_way.front().copied() {
            if end > self.written[pipe].saturating_sub(unread[pipe]) {
                break;
            }
            newest = Some(time_ns);
            self.under_way.pop_front();
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_when_it_is_out_with_all_before_it() {
        let mut position = Position::default();
        position.wrote(0, 10, 1);
        position.wrote(1, 5, 2);
        position.wrote(0, 10, 3);
        assert_eq!(position.read([20, 5]), None);
        assert_eq!(position.read([11, 0]), None, "the first is not quite out");
        assert_eq!(position.read([10, 5]), Some(1));
        assert_eq!(position.read([0, 5]), None, "the second is before the third");
        assert_eq!(position.read([0, 0]), Some(3));
        assert_eq!(position.read([0, 0]), None);
    }
}
