//! The forms in which programs print a value: as it is, and the ways it is commonly encoded.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Every form of `value` that may turn up in a text, in no order.
pub(crate) fn forms(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let mut forms = vec![bytes.to_vec()];
    for digits in [HEX_LOWER, HEX_UPPER] {
        forms.push(bytes.iter().flat_map(|byte| hex(*byte, digits)).collect());
        forms.push(percent_encoded(bytes, digits, b"%20"));
        forms.push(percent_encoded(bytes, digits, b"+"));
    }
    forms.extend([json_escaped(value), shell_escaped(value)]);
    forms.extend(base64_forms(bytes));
    forms
}

const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

/// RFC 3986, section 2.3: what is unreserved stays. Forms write a space as `+`.
fn percent_encoded(bytes: &[u8], digits: &[u8; 16], space: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' ' => out.extend_from_slice(space),
            b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            _ if byte.is_ascii_alphanumeric() => out.push(*byte),
            _ => {
                out.push(b'%');
                out.extend(hex(*byte, digits));
            }
        }
    }
    out
}

/// RFC 8259, section 7, as most writers do it: escapes only where they must be.
fn json_escaped(value: &str) -> Vec<u8> {
    let quoted = serde_json::Value::from(value).to_string();
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().as_bytes().to_vec()
}

/// As bash's `printf %q` and `set -x` write what has no control characters.
fn shell_escaped(value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"%+,-./:=@_^".contains(&byte) || byte > 127;
        if !plain {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}

/// What base64 makes of `value` at each of the three places it may begin within a longer text,
/// without the characters that also depend on its neighbours; in both alphabets of RFC 4648.
fn base64_forms(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..3usize).flat_map(move |before| {
        let mut text = vec![0; before];
        text.extend_from_slice(value);
        let start = (before * 8).div_ceil(6);
        let end = text.len() * 8 / 6;
        [STANDARD_NO_PAD, URL_SAFE_NO_PAD].into_iter().filter_map(move |alphabet| {
            alphabet.encode(&text).as_bytes().get(start..end).map(<[u8]>::to_vec)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_encoding_is_there() {
        let forms = forms("p@ss w/ö\"é?>>~");
        for form in [
            "p@ss w/ö\"é?>>~",
            "p%40ss%20w%2F%C3%B6%22%C3%A9%3F%3E%3E~",
            "p%40ss+w%2f%c3%b6%22%c3%a9%3f%3e%3e~",
            "7040737320772fc3b622c3a93f3e3e7e",
            "7040737320772FC3B622C3A93F3E3E7E",
            "p@ss w/ö\\\"é?>>~",
            "p@ss\\ w/ö\\\"é\\?\\>\\>\\~",
            "cEBzcyB3L8O2IsOpPz4+f",
            "cEBzcyB3L8O2IsOpPz4-f",
        ] {
            let found = forms.iter().any(|known| known == form.as_bytes());
            assert!(
                found,
                "{form} is not among {:?}",
                forms.iter().map(|f| String::from_utf8_lossy(f)).collect::<Vec<_>>()
            );
        }
    }
}
