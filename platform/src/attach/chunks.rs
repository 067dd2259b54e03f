//! What a dyno wrote, in the portions in which its client gets it.
//!
//! The Heroku CLI looks for the line that tells the exit status inside one received portion, so a
//! line must not be split over two, least of all that one: it begins with U+FFFF, which no text has.

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

/// Bytes on their way to the client; never more than one portion.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    held: Vec<u8>,
    /// When the last bytes came.
    at: Option<Instant>,
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
        std::mem::replace(&mut self.held, rest)
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
