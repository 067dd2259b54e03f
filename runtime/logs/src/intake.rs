//! What a producer sent becomes lines that cannot break a frame, a terminal or a limit.

use crate::Line;
use bytes::Bytes;
use std::sync::Arc;

/// Longer lines become several (Heroku Dev Center, Limits: "log lines are split at 10 000 bytes").
pub const LINE_BYTES_MAX: usize = 10_000;

/// A syslog PROCID has at most 128 characters (RFC 5424, section 6).
const PROCESS_BYTES_MAX: usize = 128;

/// Splits at line feeds and at `LINE_BYTES_MAX`, and makes each piece printable.
///
/// Always at least one line; all share time, source and process.
pub(crate) fn lines(line: Line) -> impl Iterator<Item = Line> {
    let Line { app, time, source, process, text } = line;
    let process = printable_process(process);
    pieces(&text).into_iter().map(move |text| Line {
        app: app.clone(),
        time,
        source,
        process: process.clone(),
        text,
    })
}

fn pieces(text: &Bytes) -> Vec<Bytes> {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    body.split(|&byte| byte == b'\n')
        .map(|row| row.strip_suffix(b"\r").unwrap_or(row))
        .flat_map(|row| Chunks { rest: Some(row) })
        .map(|chunk| printable(text.slice_ref(chunk)))
        .collect()
}

/// Pieces of at most `LINE_BYTES_MAX` bytes that do not cut a UTF-8 character in two.
struct Chunks<'a> {
    /// `None` at the end; an empty row is one empty piece.
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let row = self.rest.take()?;
        if row.len() <= LINE_BYTES_MAX {
            return Some(row);
        }
        let continues =
            |at: usize| row.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
        let end = (LINE_BYTES_MAX - 3..=LINE_BYTES_MAX)
            .rev()
            .find(|&at| !continues(at))
            .unwrap_or(LINE_BYTES_MAX);
        let (piece, rest) = row.split_at(end);
        self.rest = Some(rest);
        Some(piece)
    }
}

/// Valid UTF-8 without control characters, except tabs and colours, which apps rightly use.
///
/// Control characters appear as `cat -v` shows them, bytes that are no UTF-8 as U+FFFD.
fn printable(text: Bytes) -> Bytes {
    // Almost every line; sixteen bytes at a time.
    if text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return text;
    }
    match std::str::from_utf8(&text) {
        Ok(valid) if !valid.contains(is_control) => text,
        _ => Bytes::from(escaped(&String::from_utf8_lossy(&text))),
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t'
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if c == '\x1b' { colour_length(rest) } else { 0 };
        let (taken, after) = rest.split_at(length.max(c.len_utf8()));
        match c {
            _ if length > 0 || !is_control(c) => out.push_str(taken),
            '\x7f' => out.push_str("^?"),
            '\0'..='\x1f' => out.extend(['^', char::from(c as u8 ^ 0x40)]),
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
        rest = after;
    }
    out
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
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn texts(text: impl Into<Vec<u8>>) -> Vec<String> {
        let line = Line {
            app: AppId::new("a"),
            time: Timestamp::UNIX_EPOCH,
            source: Source::App,
            process: Arc::from("web.1"),
            text: Bytes::from(text.into()),
        };
        lines(line).map(|line| String::from_utf8(line.text.to_vec()).unwrap()).collect()
    }

    #[test]
    fn hostile_text_is_one_printable_line_a_frame() {
        let cases: &[(&[u8], &[&str])] = &[
            (b"", &[""]),
            (b"plain", &["plain"]),
            (b"plain\r\n", &["plain"]),
            (b"a\n\nb\n", &["a", "", "b"]),
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
        assert_eq!(texts(vec![b'x'; 1 << 20]).len(), 105);
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
