//! What somebody says last, of however much.

/// More than a line that is shown has.
const KEPT_BYTES: usize = 4096;
const LINE_BYTES: usize = 200;

/// The end of a stream of bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastWords(Vec<u8>);

impl LastWords {
    pub(crate) fn hear(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(
            piece.get(piece.len().saturating_sub(KEPT_BYTES)..).unwrap_or(piece),
        );
        let surplus = self.0.len().saturating_sub(KEPT_BYTES);
        self.0.drain(..surplus);
    }

    /// The last line that is not blank, without control characters and cut to what a person reads:
    /// empty when nothing was said.
    pub(crate) fn line(&self) -> String {
        let blank = |line: &&[u8]| line.iter().all(u8::is_ascii_whitespace);
        let line = self.0.split(|byte| *byte == b'\n').rfind(|line| !blank(line));
        let line = line.unwrap_or_default();
        let text = String::from_utf8_lossy(line.get(..LINE_BYTES).unwrap_or(line));
        let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        shown.trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something_is_kept_of_whatever_is_heard() {
        let line = |pieces: &[&[u8]]| {
            let mut words = LastWords::default();
            for piece in pieces {
                words.hear(piece);
            }
            words.line()
        };
        assert_eq!(line(&[]), "");
        assert_eq!(line(&[b"one\ntwo", b" and three\n \n\n"]), "two and three");
        assert_eq!(line(&[b"\x1b[31mred\xff\r\n"]), "[31mred\u{fffd}");
        let flood = [&[b'x'; 10_000][..], b"\nlast"].concat();
        assert_eq!(line(&[&flood]), "last");
        assert_eq!(line(&[&[b'y'; 9000]]).len(), LINE_BYTES);
    }
}
