//! What a producer sent becomes lines that cannot break a frame, a terminal or a limit.

mod splitter;

pub use splitter::Splitter;

use crate::Line;
use crate::block::Block;
use std::sync::Arc;

/// Longer lines become several (Heroku Dev Center, Limits: "log lines are split at 10 000 bytes").
pub const LINE_BYTES_MAX: usize = 10_000;

/// A syslog PROCID has at most 128 characters (RFC 5424, section 6).
const PROCESS_BYTES_MAX: usize = 128;

/// Text beyond this begins another block; more than anybody reads from a pipe at once.
const BLOCK_BYTES: usize = 96 << 10;

/// Splits at line feeds and at `LINE_BYTES_MAX`, and makes each piece printable.
///
/// Always at least one line; all share time, source and process. No block has more text than
/// `BLOCK_BYTES` and one line: an escaped one has at most three times what it had.
pub(crate) fn blocks(mut line: Line, mut each: impl FnMut(Block)) {
    line.process = printable_process(line.process);
    // Almost everything that dynos write: it stays where it is.
    if line.text.len() <= BLOCK_BYTES && is_clean(&line.text) {
        let text = line.text.clone();
        return Block::new(line, text).into_iter().for_each(each);
    }
    let text = std::mem::take(&mut line.text);
    let mut out = Vec::with_capacity(text.len().min(BLOCK_BYTES) + 1);
    for piece in pieces(&text) {
        clean(piece, &mut out);
        out.push(b'\n');
        if out.len() >= BLOCK_BYTES {
            Block::new(line.clone(), std::mem::take(&mut out).into())
                .into_iter()
                .for_each(&mut each);
        }
    }
    Block::new(line, out.into()).into_iter().for_each(each);
}

/// Whether the text is whole lines, none of which has to be changed or cut.
fn is_clean(text: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n');
    // Piece by piece, each as a whole: that is many bytes at a time.
    let is_plain = |piece: &[u8]| piece.iter().fold(true, |all, byte| all & plain(byte));
    text.last() == Some(&b'\n') && text.chunks(256).all(is_plain) && {
        let mut from = 0;
        memchr::memchr_iter(b'\n', text)
            .all(|end| end - std::mem::replace(&mut from, end + 1) <= LINE_BYTES_MAX)
    }
}

fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    body.split(|&byte| byte == b'\n').flat_map(|row| Pieces { rest: Some(without_returns(row)) })
}

fn without_returns(mut row: &[u8]) -> &[u8] {
    while let Some(shorter) = row.strip_suffix(b"\r") {
        row = shorter;
    }
    row
}

/// Pieces of at most `LINE_BYTES_MAX` bytes that do not cut a UTF-8 character in two.
struct Pieces<'a> {
    /// `None` at the end; an empty row is one empty piece.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let row = self.rest.take()?;
        let (piece, rest) = row.split_at(piece_end(row));
        self.rest = (!rest.is_empty()).then_some(rest);
        Some(piece)
    }
}

/// How much of a row is its first piece.
fn piece_end(row: &[u8]) -> usize {
    let continues = |at: usize| row.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    if row.len() <= LINE_BYTES_MAX {
        return row.len();
    }
    (LINE_BYTES_MAX - 3..=LINE_BYTES_MAX).rev().find(|&at| !continues(at)).unwrap_or(LINE_BYTES_MAX)
}

/// Valid UTF-8 without control characters, except tabs and colours, which apps rightly use.
///
/// Control characters appear as `cat -v` shows them, bytes that are no UTF-8 as U+FFFD.
fn clean(piece: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(piece) {
        Ok(valid) if !valid.contains(is_control) => out.extend_from_slice(piece),
        _ => escape(&String::from_utf8_lossy(piece), out),
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t'
}

fn escape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if c == '\x1b' { colour_length(rest) } else { 0 };
        let (taken, after) = rest.split_at(length.max(c.len_utf8()));
        match c {
            _ if length > 0 || !is_control(c) => out.extend_from_slice(taken.as_bytes()),
            '\x7f' => out.extend_from_slice(b"^?"),
            '\0'..='\x1f' => out.extend_from_slice(&[b'^', c as u8 ^ 0x40]),
            _ => out.extend_from_slice("\u{fffd}".as_bytes()),
        }
        rest = after;
    }
}

/// The length of the colour sequence (ECMA-48 SGR, `ESC [ numbers m`) that `text` begins with, or 0.
fn colour_length(text: &str) -> usize {
    let Some(body) = text.strip_prefix("\x1b[") else { return 0 };
    let numbers = body.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if numbers <= 32 && body[numbers..].starts_with('m') { numbers + 3 } else { 0 }
}

/// One printable word: a blank or a bracket here could pass for another field of the frame.
fn printable_process(process: Arc<str>) -> Arc<str> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '[' | ']');
    if (1..=PROCESS_BYTES_MAX).contains(&process.len()) && process.chars().all(plain) {
        return process;
    }
    let word: String =
        process.chars().take(PROCESS_BYTES_MAX).map(|c| if plain(c) { c } else { '_' }).collect();
    Arc::from(if word.is_empty() { "_" } else { &word })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppId, Source};
    use bytes::Bytes;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn texts(text: impl Into<Vec<u8>>) -> Vec<String> {
        texts_of(Bytes::from(text.into()))
    }

    /// The lines that become of a text, each without its end.
    pub(super) fn texts_of(text: Bytes) -> Vec<String> {
        let line = Line {
            app: AppId::new("a"),
            time: Timestamp::UNIX_EPOCH,
            source: Source::App,
            process: Arc::from("web.1"),
            text,
        };
        let mut texts = Vec::new();
        blocks(line, |block| {
            assert!(block.text().len() <= BLOCK_BYTES + 3 * LINE_BYTES_MAX + 1);
            let said = block.texts().map(|text| text.strip_suffix(b"\n").unwrap().to_vec());
            texts.extend(said.map(|text| String::from_utf8(text).unwrap()));
        });
        texts
    }

    #[test]
    fn hostile_text_is_one_printable_line_a_frame() {
        let cases: &[(&[u8], &[&str])] = &[
            (b"", &[""]),
            (b"plain", &["plain"]),
            (b"plain\r\n", &["plain"]),
            (b"plain\r\r\n", &["plain"]),
            (b"a\n\nb\n", &["a", "", "b"]),
            (b"two\nclean\n", &["two", "clean"]),
            (b"\n", &[""]),
            (b"10%\r20%", &["10%^M20%"]),
            (b"nul\0del\x7f", &["nul^@del^?"]),
            (b"\x1b[1;31mred\x1b[0m\ttab", &["\x1b[1;31mred\x1b[0m\ttab"]),
            (b"\x1b[2Jwiped \x1b]0;title\x07", &["^[[2Jwiped ^[]0;title^G"]),
            (b"\xc2\x9b2J", &["\u{fffd}2J"]),
            (b"bad \xff\xfe utf8", &["bad \u{fffd}\u{fffd} utf8"]),
            (
                b"<13>1 2020-01-01T00:00:00Z host app web.1 - x",
                &["<13>1 2020-01-01T00:00:00Z host app web.1 - x"],
            ),
        ];
        for (text, want) in cases {
            assert_eq!(texts(*text), *want, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn long_lines_split_at_10_000_bytes() {
        let sizes = |text: String| texts(text).iter().map(String::len).collect::<Vec<_>>();
        assert_eq!(sizes("x".repeat(10_000)), [10_000]);
        assert_eq!(sizes("x".repeat(25_000)), [10_000, 10_000, 5_000]);
        // Four-byte characters: 10 000 falls between two of them, 9 999 (after an "x") does not.
        assert_eq!(sizes("😀".repeat(5_000)), [10_000, 10_000]);
        assert_eq!(sizes(format!("x{}", "😀".repeat(2_500))), [9_997, 4]);
        assert_eq!(sizes(format!("{}\nx\n", "x".repeat(10_001))), [10_000, 1, 1]);
        assert_eq!(texts(vec![b'x'; 1 << 20]).len(), 105);
        assert_eq!(texts("short\n".repeat(100_000)).len(), 100_000);
    }

    #[test]
    fn a_process_is_one_word() {
        for (given, want) in [("web.1", "web.1"), ("", "_"), ("a b]: c", "a_b_:_c"), ("é\n", "__")]
        {
            assert_eq!(&*printable_process(Arc::from(given)), want);
        }
        assert_eq!(printable_process(Arc::from("x".repeat(500))).len(), 128);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn whatever_comes_in_is_bounded_and_printable(text in proptest::collection::vec(any::<u8>(), 0..24_000)) {
            let colour = |text: &str| colour_length(text) > 0;
            for line in texts(text) {
                prop_assert!(line.len() <= 3 * LINE_BYTES_MAX);
                for (at, c) in line.char_indices() {
                    prop_assert!(!is_control(c) || colour(&line[at..]));
                }
            }
        }

        #[test]
        fn printable_text_is_kept_whole(text in "\\PC{0,300}") {
            prop_assert_eq!(texts(text.repeat(60)).concat(), text.repeat(60));
        }
    }
}
