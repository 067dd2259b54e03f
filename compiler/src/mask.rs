//! Secrets out of a transcript: values of config vars are replaced by their names.

use crate::forms::forms;
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
            // Programs like to cut the white space around a value, so that is tried as well.
            let texts = [value.as_str(), value.trim()].into_iter().chain(lines);
            let forms = texts.flat_map(forms).filter(|form| form.len() >= VALUE_BYTES_MIN);
            needles.extend(forms.map(|form| (form, shown.clone())));
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

    #[test]
    fn the_end_of_a_line_is_no_part_of_a_secret() {
        let mask = mask(&[("TOKEN", "hunter2x\n")]);
        assert_eq!(mask.apply(b"(hunter2x)"), b"(<TOKEN>)");
    }

    proptest! {
        #[test]
        fn no_form_of_a_value_survives(
            value in "[ -~]{8,40}", before in "[ .,]{0,9}", after in "[ .,]{0,9}", form in 0..14usize,
        ) {
            prop_assume!(!PLAIN_WORDS.contains(&value.as_str()) && value.trim().len() >= 8);
            let mask = mask(&[("X", &value)]);
            let all = forms(&value);
            let form = &all[form % all.len()];
            let text = [before.as_bytes(), form, after.as_bytes()].concat();
            let masked = mask.apply(&text);
            prop_assert!(!masked.windows(form.len()).any(|window| window == form.as_slice()));
        }
    }
}
