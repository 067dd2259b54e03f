//! What a dyno wrote, in the portions in which its client gets it.
//!
//! The Heroku CLI looks for the line that tells the exit status inside one received portion, so a
//! line must not be split over two, least of all that one: it begins with U+FFFF, which no text has.
//! When the dyno is ended before it could say that line, it is said in its place.

use std::time::Duration;
use tokio::time::Instant;

/// What one TLS record carries at most (RFC 8446, 5.1).
pub(super) const CHUNK_BYTES_MAX: usize = 16 * 1024;
/// How long an unfinished line waits for its end.
const LINE_MAX: Duration = Duration::from_millis(5);
/// How long a status line waits for its end.
const MARKER_MAX: Duration = Duration::from_secs(2);
/// U+FFFF in UTF-8.
const MARKER: [u8; 3] = [0xEF, 0xBF, 0xBF];
/// What the Heroku CLI makes the dyno say, with the status behind it.
const STATUS_LINE: &str = "\u{FFFF} heroku-command-exit-status: ";

/// Bytes on their way to the client; never more than one portion.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    held: Vec<u8>,
    /// When the last bytes came.
    at: Option<Instant>,
    /// The client waits for the status line, and it has not been sent.
    owes_status: bool,
}

/// When the next portion goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// There is nothing to send.
    Never,
    At(Instant),
    Now,
}

impl Chunks {
    /// Of a dyno with this command.
    pub(super) fn of(command: &str) -> Self {
        Self { owes_status: command.contains(STATUS_LINE), ..Self::default() }
    }

    /// How many bytes it can take.
    pub(super) fn room(&self) -> usize {
        CHUNK_BYTES_MAX - self.held.len()
    }

    /// `bytes` are at most what there is room for.
    pub(super) fn push(&mut self, bytes: &[u8], now: Instant) {
        self.held.extend_from_slice(bytes);
        self.at = Some(now);
    }

    pub(super) fn due(&self, now: Instant) -> Due {
        let Some(at) = self.at else { return Due::Never };
        let line = self.unfinished();
        let wait = match line {
            [] => Duration::ZERO,
            _ if self.room() == 0 => Duration::ZERO,
            line if marker(line).is_some() => MARKER_MAX,
            _ => LINE_MAX,
        };
        if now >= at + wait { Due::Now } else { Due::At(at + wait) }
    }

    /// The next portion; of a full buffer only whole lines, if it has any.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let tail = self.unfinished();
        let keep = match marker(tail) {
            _ if self.room() > 0 => 0,
            Some(at) => tail.len() - at,
            None => tail.len(),
        };
        let keep = if keep == self.held.len() { 0 } else { keep };
        let rest = self.held.split_off(self.held.len() - keep);
        if rest.is_empty() {
            self.at = None;
        }
        let portion = std::mem::replace(&mut self.held, rest);
        if marker(&portion).is_some() {
            self.owes_status = false;
        }
        portion
    }

    /// The line that tells the status, if the client waits for it and the dyno did not say it.
    pub(super) fn farewell(&self, status: u8) -> Option<String> {
        self.owes_status.then(|| format!("{STATUS_LINE}{status}\r\n"))
    }

    /// The last line while its end is not here.
    fn unfinished(&self) -> &[u8] {
        let start = self.held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        &self.held[start..]
    }
}

/// Where a status line begins in an unfinished line; its first bytes may be all there is of it.
fn marker(line: &[u8]) -> Option<usize> {
    let whole = line.windows(MARKER.len()).position(|window| window == MARKER);
    whole.or_else(|| {
        let begun = [2, 1].into_iter().find(|bytes| line.ends_with(&MARKER[..*bytes]));
        begun.map(|bytes| line.len() - bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STATUS: &str = "\u{FFFF} heroku-command-exit-status: 3\r\n";

    fn after(chunks: &Chunks, at: Instant) -> Option<Duration> {
        match chunks.due(at) {
            Due::Never => None,
            Due::Now => Some(Duration::ZERO),
            Due::At(due) => Some(due - at),
        }
    }

    #[test]
    fn whole_lines_go_at_once_and_others_wait_a_little() {
        let cases: &[(&[u8], Option<Duration>)] = &[
            (b"", None),
            (b"done\r\n", Some(Duration::ZERO)),
            (b"$ ", Some(LINE_MAX)),
            (b"done\r\n$ ", Some(LINE_MAX)),
            (&STATUS.as_bytes()[..20], Some(MARKER_MAX)),
            (b"no newline\xEF\xBF\xBF hero", Some(MARKER_MAX)),
            (b"begun \xEF\xBF", Some(MARKER_MAX)),
            (b"begun \xEF", Some(MARKER_MAX)),
            ("\u{FF21}".as_bytes(), Some(LINE_MAX)),
            (STATUS.as_bytes(), Some(Duration::ZERO)),
        ];
        for (bytes, wait) in cases {
            let (mut chunks, now) = (Chunks::default(), Instant::now());
            if !bytes.is_empty() {
                chunks.push(bytes, now);
            }
            assert_eq!(after(&chunks, now), *wait, "{bytes:?}");
            if wait.is_some() {
                assert_eq!(chunks.due(now + MARKER_MAX), Due::Now);
                assert_eq!(chunks.take(), *bytes);
                assert_eq!(chunks.due(now), Due::Never);
            }
        }
    }

    #[test]
    fn a_full_buffer_goes_up_to_its_last_line() {
        let cases: [(&[u8], usize); 3] =
            [(b"x\nbegun", 5), (b"x\nnothing\xEF\xBF\xBF heroku", 10), (b"xxxxxxxx\n", 0)];
        for (tail, kept) in cases {
            let (mut chunks, now) = (Chunks::default(), Instant::now());
            chunks.push(&vec![b'x'; CHUNK_BYTES_MAX - tail.len()], now);
            chunks.push(tail, now);
            assert_eq!(chunks.due(now), Due::Now);
            assert_eq!(chunks.take().len(), CHUNK_BYTES_MAX - kept);
            assert_eq!(chunks.room(), CHUNK_BYTES_MAX - kept);
        }
        let (mut chunks, now) = (Chunks::default(), Instant::now());
        chunks.push(&vec![b'x'; CHUNK_BYTES_MAX], now);
        assert_eq!(chunks.take().len(), CHUNK_BYTES_MAX);
    }

    #[test]
    fn a_status_that_the_dyno_could_not_say_is_said_for_it() {
        let asks = "sleep 9 ; echo \"\u{FFFF} heroku-command-exit-status: $?\"";
        let told = |command: &str, output: &str| {
            let mut chunks = Chunks::of(command);
            chunks.push(output.as_bytes(), Instant::now());
            drop(chunks.take());
            chunks.farewell(137)
        };
        let line = "\u{FFFF} heroku-command-exit-status: 137\r\n".to_owned();
        assert_eq!(told(asks, "Killed\r\n"), Some(line));
        assert_eq!(told(asks, STATUS), None);
        assert_eq!(told("sleep 9", "Killed\r\n"), None);
    }

    proptest! {
        /// Whatever arrives in whatever pieces: all of it goes out in order, in portions that fit
        /// a record, and the status line in one.
        #[test]
        fn nothing_is_lost_and_the_status_is_never_split(
            before in proptest::collection::vec(0_u8..0xEF, 0..40_000),
            cuts in proptest::collection::vec(1_usize..20_000, 1..50),
            pauses in proptest::collection::vec(0_u64..8, 1..50),
        ) {
            let whole = [before.as_slice(), STATUS.as_bytes()].concat();
            let (mut chunks, mut now) = (Chunks::default(), Instant::now());
            let (mut rest, mut sent) = (whole.as_slice(), Vec::new());
            for (cut, pause) in cuts.iter().cycle().zip(pauses.iter().cycle()) {
                while chunks.due(now) == Due::Now {
                    sent.push(chunks.take());
                }
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at((*cut).min(rest.len()).min(chunks.room()));
                chunks.push(piece, now);
                rest = more;
                now += Duration::from_millis(*pause);
            }
            prop_assert_eq!(chunks.due(now), Due::Never);
            prop_assert!(sent.iter().all(|portion| portion.len() <= CHUNK_BYTES_MAX));
            prop_assert_eq!(sent.concat(), whole);
            let last = sent.last().unwrap();
            prop_assert!(last.ends_with(STATUS.as_bytes()));
        }
    }
}
