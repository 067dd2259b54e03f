//! What the pusher reads: Heroku's arrows and indents, line by line, bounded, without secrets.

use crate::mask::Mask;
use crate::package::megabytes;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

/// A longer line is shown in pieces of this size.
const LINE_BYTES_MAX: usize = 10_000;
/// The end of the output, kept to explain a failure with.
const TAIL_BYTES: usize = 16 << 10;
const TAIL_LINE_CHARS_MAX: usize = 300;

/// Writes whole lines and flushes each, so that a push shows a build as it happens.
pub struct Transcript {
    out: Box<dyn Write + Send>,
    mask: Mask,
    pending: Vec<u8>,
    /// Of what programs write, together; the rest is counted, not shown.
    bytes_max: u64,
    written: u64,
    dropped: u64,
    /// The reader is gone: the build goes on, and its outcome tells what happened.
    deaf: bool,
    /// The last bytes as they came, at most twice [`TAIL_BYTES`].
    recent: Vec<u8>,
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcript")
            .field("written", &self.written)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

impl Transcript {
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            mask: Mask::default(),
            pending: Vec::new(),
            bytes_max: u64::MAX,
            written: 0,
            dropped: 0,
            deaf: false,
            recent: Vec::new(),
        }
    }

    /// At most this much of what programs write is shown. What the compiler itself has to say always is.
    pub fn bound(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// From here on the values of `env` are shown as `<NAME>`.
    pub fn hide(&mut self, env: &BTreeMap<String, String>) {
        self.mask = Mask::new(env);
    }

    /// `text` without the secrets that were to be hidden.
    pub fn masked(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.mask.apply(text.as_bytes())).into_owned()
    }

    /// `-----> text`
    pub fn step(&mut self, text: &str) {
        self.say("-----> ", text);
    }

    /// Each line of `text` indented by seven spaces.
    pub fn detail(&mut self, text: &str) {
        self.say("       ", text);
    }

    /// Each line of `text` after ` !     `, as Heroku marks what went wrong.
    pub fn error(&mut self, text: &str) {
        self.say(" !     ", text);
    }

    fn say(&mut self, prefix: &str, text: &str) {
        self.end_line();
        for line in text.lines() {
            let line = format!("{}\n", format!("{prefix}{line}").trim_end());
            self.remember(line.as_bytes());
            self.write(&self.mask.apply(line.as_bytes()));
        }
    }

    /// Output of a program, in whatever pieces it comes.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.remember(bytes);
        if self.dropped > 0 {
            self.dropped += bytes.len() as u64;
            return;
        }
        for piece in bytes.chunks(LINE_BYTES_MAX).flat_map(|c| c.split_inclusive(|b| *b == b'\n')) {
            self.pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.emit(self.pending.len());
            }
            self.break_overlong();
        }
    }

    /// Ends a line its program left open.
    pub fn end_line(&mut self) {
        if !self.pending.is_empty() {
            self.raw(b"\n");
        }
    }

    /// Bytes that were not shown because the build wrote too much.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The last lines as plain text without secrets, oldest first.
    pub(crate) fn tail(&self) -> Vec<String> {
        let start = self.recent.len().saturating_sub(TAIL_BYTES);
        // A line cut at its beginning may hold half a secret, which no mask would know.
        let whole = match self.recent[start..].iter().position(|byte| *byte == b'\n') {
            Some(end) if start > 0 => start + end,
            _ => start,
        };
        let text = self.mask.apply(&self.recent[whole..]);
        let text = String::from_utf8_lossy(&text);
        text.lines().map(|line| plain(line).chars().take(TAIL_LINE_CHARS_MAX).collect()).collect()
    }

    /// Programs that never end their line must not grow our memory. As much is held back as the
    /// longest secret, so that none is cut in two and missed.
    fn break_overlong(&mut self) {
        let held = self.mask.longest().saturating_sub(1);
        while self.pending.len() >= LINE_BYTES_MAX + held {
            self.pending = self.mask.apply(&self.pending);
            self.emit(LINE_BYTES_MAX.min(self.pending.len().saturating_sub(held)));
        }
    }

    fn emit(&mut self, count: usize) {
        let rest = self.pending.split_off(count);
        let mut line = self.mask.apply(&self.pending);
        self.pending = rest;
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        let size = line.len() as u64;
        if self.written + size > self.bytes_max {
            if self.dropped == 0 {
                let max = megabytes(self.bytes_max);
                let cut =
                    format!("Output is cut here: the build wrote more than {max} (build.output).");
                self.write(format!(" !     {cut}\n").as_bytes());
            }
            self.dropped += size;
            return;
        }
        self.written += size;
        self.write(&line);
    }

    fn write(&mut self, line: &[u8]) {
        if !self.deaf {
            let result: io::Result<()> = self.out.write_all(line).and_then(|()| self.out.flush());
            self.deaf = result.is_err();
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.recent.extend_from_slice(&bytes[bytes.len().saturating_sub(2 * TAIL_BYTES)..]);
        if self.recent.len() > 2 * TAIL_BYTES {
            self.recent.drain(..self.recent.len() - TAIL_BYTES);
        }
    }
}

/// Without terminal colours and control characters, which say nothing in a sentence.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // A control sequence ends with its first letter (ECMA-48, 5.4).
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else if !c.is_control() {
            out.push(c);
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn transcript() -> (Transcript, Shared) {
        let shared = Shared::default();
        (Transcript::new(shared.clone()), shared)
    }

    fn text(shared: &Shared) -> String {
        String::from_utf8(shared.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn speaks_as_heroku_does() {
        let (mut out, shared) = transcript();
        out.step("Python app detected");
        out.detail("Installing\n\ndependencies");
        out.raw(b"half a line");
        out.error("no");
        let expected = "-----> Python app detected\n       Installing\n\n       dependencies\n\
                        half a line\n !     no\n";
        assert_eq!(text(&shared), expected);
    }

    #[test]
    fn a_secret_across_pieces_is_hidden() {
        let (mut out, shared) = transcript();
        out.hide(&BTreeMap::from([("TOKEN".to_owned(), "correct horse".to_owned())]));
        out.raw(b"is correct ");
        out.raw(b"horse\n");
        let mut long = vec![b'.'; LINE_BYTES_MAX - 5];
        long.extend_from_slice(b"correct horse");
        long.extend(vec![b'.'; 2 * LINE_BYTES_MAX]);
        for byte in &long {
            out.raw(&[*byte]);
        }
        out.end_line();
        assert!(text(&shared).starts_with("is <TOKEN>\n"));
        assert!(!text(&shared).contains("correct"));
        assert!(text(&shared).lines().all(|line| line.len() <= LINE_BYTES_MAX + 20));
    }

    #[test]
    fn too_much_is_counted_not_shown() {
        let (mut out, shared) = transcript();
        out.bound(2 << 20);
        for _ in 0..5 {
            out.raw(&vec![b'x'; 1 << 20]);
        }
        out.error("it failed");
        out.raw(b"more\n");
        let shown = text(&shared);
        assert!(shown.len() < (2 << 20) + 200);
        let cut = " !     Output is cut here: the build wrote more than 2.0M (build.output).\n";
        assert!(shown.ends_with(&format!("{cut} !     it failed\n")));
        assert!((2 << 20..4 << 20).contains(&out.dropped()), "{}", out.dropped());
    }

    #[test]
    fn the_tail_is_plain_text() {
        let (mut out, _) = transcript();
        (0..5000).for_each(|n| out.raw(format!("\x1b[31;1mline {n}\x1b[0m\r\n").as_bytes()));
        let tail = out.tail();
        assert_eq!(tail.last().map(String::as_str), Some("line 4999"));
        assert!((100..5000).contains(&tail.len()));
    }

    #[test]
    fn the_tail_goes_on_after_the_cut_and_hides_secrets() {
        let (mut out, shared) = transcript();
        out.hide(&BTreeMap::from([("TOKEN".to_owned(), "correct horse".to_owned())]));
        out.bound(100_000);
        (0..=100).for_each(|_| out.raw(&[&[b'x'; 999][..], b"\n"].concat()));
        out.raw(b"and more\n");
        out.raw(b"error: correct horse\n");
        assert_eq!(out.tail().last().map(String::as_str), Some("error: <TOKEN>"));
        assert!(!text(&shared).contains("<TOKEN>"));
    }
}
