//! What a process writes, cut into whole lines: bounded, whatever it writes. Pure.

use super::{LINE_BYTES_MAX, piece_end};
use bytes::Bytes;

/// Holds at most one unfinished line.
#[derive(Debug, Default)]
pub struct Splitter {
    unfinished: Vec<u8>,
}

impl Splitter {
    /// Takes the next bytes and gives the lines that are whole now, each with its line feed. A line
    /// that is too long is given in pieces, as one with many bytes would be cut later.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Bytes> {
        let end = memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1);
        let (whole, rest) = bytes.split_at(end);
        if self.unfinished.is_empty() && rest.len() <= LINE_BYTES_MAX {
            self.unfinished.extend_from_slice(rest);
            return (!whole.is_empty()).then(|| Bytes::copy_from_slice(whole));
        }
        let mut text = Vec::with_capacity(self.unfinished.len() + bytes.len());
        if !whole.is_empty() {
            text.append(&mut self.unfinished);
            text.extend_from_slice(whole);
        }
        self.unfinished.extend_from_slice(rest);
        // A line of exactly the maximum is not followed by an empty one: more has to be there.
        while self.unfinished.len() > LINE_BYTES_MAX {
            text.extend(self.unfinished.drain(..piece_end(&self.unfinished)));
            text.push(b'\n');
        }
        (!text.is_empty()).then(|| text.into())
    }

    /// The stream has ended: what is left is a line too.
    pub fn finish(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.unfinished);
        (!rest.is_empty()).then(|| rest.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::texts_of;
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for chunk in chunks {
            lines.extend(splitter.push(chunk).into_iter().flat_map(texts_of));
            assert!(splitter.unfinished.len() <= LINE_BYTES_MAX);
        }
        lines.extend(splitter.finish().into_iter().flat_map(texts_of));
        lines
    }

    #[test]
    fn lines_end_where_they_end() {
        for (chunks, lines) in [
            (&[&b"a\nb\n"[..]][..], &["a", "b"][..]),
            (&[b"a", b"b\r", b"\n\n", b"c"], &["ab", "", "c"]),
            (&[b"10%\r20%\r\r\n"], &["10%^M20%"]),
            (&[b"\xc3", b"\xa4\n\xc3", b"\n\xe2\x82"], &["\u{e4}", "\u{fffd}", "\u{fffd}"]),
            (&[b""], &[]),
        ] {
            assert_eq!(split(chunks), lines);
        }
    }

    #[test]
    fn long_lines_are_cut_at_ten_thousand_bytes() {
        let lengths = |bytes: &[u8]| split(&[bytes]).iter().map(String::len).collect::<Vec<_>>();
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
            rows in prop::collection::vec(prop_oneof![4 => 0usize..40, 1 => 9_990..30_010_usize], 0..8),
            cuts in prop::collection::vec(0_usize..60_000, 0..6),
        ) {
            let bytes: Vec<u8> = rows.iter().flat_map(|length| {
                // Characters of one, two and three bytes.
                let row: String = "a\u{e4}\u{20ac}".chars().cycle().take(*length).collect();
                row.into_bytes().into_iter().chain([b'\n'])
            }).collect();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let ends = cuts.iter().copied().chain([bytes.len()]);
            let starts = std::iter::once(0).chain(cuts.iter().copied());
            let chunks: Vec<&[u8]> = starts.zip(ends).map(|(from, to)| &bytes[from..to]).collect();
            prop_assert_eq!(split(&chunks), split(&[&bytes]));
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..25_000), cut in 0usize..25_000) {
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            split(&[left, right]);
        }
    }
}
