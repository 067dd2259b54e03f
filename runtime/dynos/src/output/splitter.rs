//! Bytes of a dyno to log lines: bounded, and harmless to whoever reads them. Pure.

/// A longer line is cut into pieces of this length, each a line of its own.
/// Heroku Dev Center, "Logging": log lines are split at 10,000 bytes.
pub(crate) const LINE_BYTES_MAX: usize = 10_000;

/// Cuts a stream into lines. Holds at most one unfinished line.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    unfinished: Vec<u8>,
}

impl Splitter {
    /// Takes the next bytes and hands every line that they finish to `line`, without its end.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(Vec<u8>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end], &mut line);
            bytes = &bytes[end + 1..];
            while self.unfinished.last() == Some(&b'\r') {
                self.unfinished.pop();
            }
            line(harmless(std::mem::take(&mut self.unfinished)));
        }
        self.extend(bytes, &mut line);
    }

    /// The stream has ended: what is left is a line too.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.unfinished);
        (!rest.is_empty()).then(|| harmless(rest))
    }

    /// Longer than the maximum only while it is not known whether more follows: a line of exactly
    /// the maximum is not followed by an empty one.
    fn extend(&mut self, mut bytes: &[u8], line: &mut impl FnMut(Vec<u8>)) {
        while self.unfinished.len() + bytes.len() > LINE_BYTES_MAX {
            let (now, later) = bytes.split_at(LINE_BYTES_MAX - self.unfinished.len());
            self.unfinished.extend_from_slice(now);
            let rest = self.unfinished.split_off(character_end(&self.unfinished));
            line(harmless(std::mem::replace(&mut self.unfinished, rest)));
            bytes = later;
        }
        self.unfinished.extend_from_slice(bytes);
    }
}

/// The last place at which the bytes can be cut without cutting a UTF-8 character.
fn character_end(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let wants = match bytes[at] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return bytes.len(),
        };
        return if wants > back { at } else { bytes.len() };
    }
    bytes.len()
}

/// The same text in valid UTF-8 and without control characters but tab and escape (colours): no
/// NUL that ends a reader's string, no carriage return or line feed that forges a line. Never
/// longer than it was.
pub(crate) fn harmless(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        let bad = from + error.valid_up_to();
        let end = error.error_len().map_or(bytes.len(), |len| bad + len);
        bytes[bad..end].fill(b'?');
        from = end;
    }
    for byte in &mut bytes {
        if byte.is_ascii_control() && !matches!(byte, b'\t' | 0x1B) {
            *byte = b' ';
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for chunk in chunks {
            splitter.push(chunk, |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn lines_end_where_they_end() {
        for (chunks, lines) in [
            (&[&b"a\nb\n"[..]][..], &["a", "b"][..]),
            (&[b"a", b"b\r", b"\n\n", b"c"], &["ab", "", "c"]),
            (&[b"10%\r20%\r\r\n"], &["10% 20%"]),
            (&[b"a\0b\x1b[1mc\td\x07\n"], &["a b\u{1b}[1mc\td "]),
            (&[b"\xff\xc3\xa4\xc3\n\xe2\x82"], &["?\u{e4}?", "??"]),
            (&[b""], &[]),
        ] {
            let text: Vec<String> =
                split(chunks).into_iter().map(|l| String::from_utf8(l).unwrap()).collect();
            assert_eq!(text, lines);
        }
    }

    #[test]
    fn long_lines_are_cut_at_ten_thousand_bytes() {
        let lengths = |bytes: &[u8]| split(&[bytes]).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&b"x".repeat(25_000)), [10_000, 10_000, 5_000]);
        let exact = [[b'x'; 10_000].as_slice(), b"\ny"].concat();
        assert_eq!(lengths(&exact), [10_000, 1]);
        // A character on the border goes into the next piece whole.
        let border = [[b'x'; 9_998].as_slice(), "\u{20ac}y".as_bytes()].concat();
        assert_eq!(lengths(&border), [9_998, 4]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn no_chunking_changes_the_lines(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400),
            cut in 0_usize..400,
        ) {
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(split(&[left, right]), split(&[&bytes]));
        }

        #[test]
        fn every_line_is_bounded_and_clean(bytes in prop::collection::vec(any::<u8>(), 0..25_000)) {
            for line in split(&[&bytes]) {
                prop_assert!(line.len() <= LINE_BYTES_MAX);
                let text = String::from_utf8(line).unwrap();
                prop_assert!(!text.contains(['\n', '\r', '\0']));
            }
        }
    }
}
