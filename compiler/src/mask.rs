//! Secrets out of a transcript: values of config vars are replaced by their names.

use std::collections::BTreeMap;

/// Shorter values are ordinary words and numbers; masking them would only garble the output.
const VALUE_BYTES_MIN: usize = 6;
/// A line of a multi-line value (a key file) is a secret by itself from this length on.
const LINE_BYTES_MIN: usize = 16;
/// Long enough, but no secret: they would turn every second line of a build into a riddle.
const PLAIN_WORDS: [&str; 6] =
    ["production", "development", "staging", "enabled", "disabled", "default"];

/// The strings to hide, each with what stands in its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mask {
    /// By first byte, so that a flood of output costs one look a byte; longest first.
    needles: BTreeMap<u8, Vec<(Vec<u8>, String)>>,
    longest: usize,
}

impl Mask {
    pub(crate) fn new(env: &BTreeMap<String, String>) -> Self {
        let mut needles = Vec::new();
        for (name, value) in env {
            let shown = format!("<{name}>");
            if value.len() < VALUE_BYTES_MIN || PLAIN_WORDS.contains(&value.as_str()) {
                continue;
            }
            let lines = value.lines().filter(|line| line.len() >= LINE_BYTES_MIN);
            needles.extend(lines.map(|line| (line.as_bytes().to_vec(), shown.clone())));
            needles.push((value.as_bytes().to_vec(), shown.clone()));
            needles.extend(base64_forms(value.as_bytes()).map(|form| (form, shown.clone())));
        }
        needles.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        let mut mask = Self::default();
        for (needle, shown) in needles {
            mask.longest = mask.longest.max(needle.len());
            if let Some(first) = needle.first() {
                mask.needles.entry(*first).or_default().push((needle, shown));
            }
        }
        mask
    }

    /// Bytes of the longest string to hide.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// `text` with every hidden string replaced by `<NAME>`.
    pub(crate) fn apply(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((&first, tail)) = rest.split_first() {
            let mut candidates = self.needles.get(&first).into_iter().flatten();
            if let Some((needle, shown)) = candidates.find(|(needle, _)| rest.starts_with(needle)) {
                out.extend_from_slice(shown.as_bytes());
                rest = &rest[needle.len()..];
            } else {
                out.push(first);
                rest = tail;
            }
        }
        out
    }
}

/// What base64 makes of `value` at each of the three places it may begin within a longer text,
/// without the characters that also depend on its neighbours.
fn base64_forms(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..3usize).filter_map(move |before| {
        let mut text = vec![0; before];
        text.extend_from_slice(value);
        let coded = base64(&text);
        let start = (before * 8).div_ceil(6);
        let end = text.len() * 8 / 6;
        let form = coded.get(start..end)?;
        (form.len() >= VALUE_BYTES_MIN).then(|| form.to_vec())
    })
}

/// RFC 4648, section 4, without padding.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for sextet in 0..=chunk.len() {
            out.push(ALPHABET[(word >> (18 - 6 * sextet) & 63) as usize]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask(vars: &[(&str, &str)]) -> Mask {
        Mask::new(&vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn values_become_names() {
        let mask =
            mask(&[("TOKEN", "hunter2x"), ("LONG", "hunter2xyz"), ("N", "5"), ("E", "production")]);
        let cases = [
            ("token=hunter2x!", "token=<TOKEN>!"),
            ("hunter2xyz", "<LONG>"),
            ("production 5", "production 5"),
            ("aHVudGVyMng=", "<TOKEN>g="),
            ("hunter2", "hunter2"),
        ];
        for (text, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&mask.apply(text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn every_line_of_a_key_file_is_hidden() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQE\n-----END KEY-----\n";
        let mask = mask(&[("KEY", key)]);
        assert_eq!(mask.apply(b"got MIIEvQIBADANBgkqhkiG9w0BAQE"), b"got <KEY>");
    }

    proptest! {
        #[test]
        fn no_value_survives(value in "[a-zA-Z0-9]{8,40}", before in "[ .,]{0,9}", after in "[ .,]{0,9}") {
            prop_assume!(!PLAIN_WORDS.contains(&value.as_str()));
            let mask = mask(&[("X", &value)]);
            let text = format!("{before}{value}{after}");
            let masked = String::from_utf8(mask.apply(text.as_bytes())).unwrap();
            prop_assert!(!masked.contains(&value));
            let coded = base64(text.as_bytes());
            prop_assert!(mask.apply(&coded).starts_with(&coded[..before.len() * 8 / 6]));
            prop_assert_ne!(mask.apply(&coded), coded);
        }
    }
}
