//! How far a dyno's output has been read: what is out of our pipes counts, what is in them does not.
//! Pure.

use std::collections::VecDeque;

/// By less than this a dyno's two ways overtake each other in what the daemon writes down.
const OVERTAKING_NS: i128 = 5_000_000_000;

/// One of the two ways of a dyno's output, and what is under way in its pipe.
#[derive(Debug)]
pub(super) struct Way {
    written: u64,
    /// Where in all that was written a piece ends, and the time of its line.
    in_pipe: VecDeque<(u64, i128)>,
    /// All lines up to this time went in.
    told_ns: i128,
    /// The time of a line of which not all pieces went in.
    begun_ns: Option<i128>,
}

impl Way {
    /// All lines up to that time have been read.
    pub(super) fn read_up_to(read_ns: i128) -> Self {
        Self { written: 0, in_pipe: VecDeque::new(), told_ns: read_ns, begun_ns: None }
    }

    pub(super) fn told_ns(&self) -> i128 {
        self.told_ns
    }

    /// So many bytes of the line of that time were put into the pipe; a long one comes in pieces, which
    /// all have its one time.
    pub(super) fn wrote(&mut self, bytes: usize, time_ns: i128, is_last: bool) {
        self.written += bytes as u64;
        self.in_pipe.push_back((self.written, time_ns));
        self.begun_ns = Some(time_ns);
        if is_last {
            self.end();
        }
    }

    /// What was begun is all there is of it.
    pub(super) fn end(&mut self) {
        self.told_ns = self.told_ns.max(self.begun_ns.take().unwrap_or(self.told_ns));
    }

    /// The time of the first line that is not all out, when so many bytes are still in the pipe.
    fn unread_ns(&mut self, unread: u64) -> Option<i128> {
        let out = self.written.saturating_sub(unread);
        while self.in_pipe.front().is_some_and(|(end, _)| *end <= out) {
            self.in_pipe.pop_front();
        }
        self.in_pipe.front().map(|(_, time_ns)| *time_ns).or(self.begun_ns)
    }
}

/// The time up to which all lines of both ways are out, when so many bytes are still in their pipes.
pub(super) fn read_up_to([out, err]: [&mut Way; 2], unread: [u64; 2]) -> i128 {
    let told_ns = out.told_ns.max(err.told_ns);
    let first = [out.unread_ns(unread[0]), err.unread_ns(unread[1])].into_iter().flatten().min();
    first.map_or(told_ns, |time_ns| told_ns.min(time_ns - 1))
}

/// From which time on the daemon is to be asked for lines, when each way was told up to its own: one that
/// is never used is no reason to read all of the other again.
pub(super) fn ask_from(told_ns: [i128; 2]) -> i128 {
    let [out, err] = told_ns;
    out.min(err).max(out.max(err) - OVERTAKING_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_both_pipes_counts() {
        let (mut out, mut err) = (Way::read_up_to(5), Way::read_up_to(5));
        let mut read = |out: &mut Way, unread| read_up_to([out, &mut err], unread);
        assert_eq!(read(&mut out, [0, 0]), 5);
        out.wrote(10, 10, true);
        out.wrote(10, 30, true);
        assert_eq!(read(&mut out, [20, 0]), 9);
        assert_eq!(read(&mut out, [11, 0]), 9, "the first is not quite out");
        assert_eq!(read(&mut out, [10, 0]), 29);
        assert_eq!(read(&mut out, [0, 0]), 30);
        // The other way was overtaken.
        err.wrote(5, 20, true);
        assert_eq!(read_up_to([&mut out, &mut err], [0, 5]), 19);
        assert_eq!(read_up_to([&mut out, &mut err], [0, 0]), 30);
    }

    #[test]
    fn a_line_in_pieces_counts_with_its_last() {
        let (mut out, mut err) = (Way::read_up_to(0), Way::read_up_to(0));
        err.wrote(5, 50, true);
        out.wrote(16_384, 40, false);
        assert_eq!(read_up_to([&mut out, &mut err], [0, 0]), 39);
        assert_eq!(out.told_ns(), 0);
        out.wrote(7, 40, true);
        assert_eq!(read_up_to([&mut out, &mut err], [0, 0]), 50);
        out.wrote(7, 60, false);
        out.end();
        assert_eq!(read_up_to([&mut out, &mut err], [0, 0]), 60);
    }

    #[test]
    fn a_way_that_is_never_used_has_nothing_read_again() {
        let second = 1_000_000_000;
        assert_eq!(ask_from([0, 100 * second]), 95 * second);
        assert_eq!(ask_from([100 * second, 98 * second]), 98 * second);
        assert!(ask_from([0, 0]) <= 0);
    }
}
