//! `Host` as clients write it → the one spelling the route table uses.

use std::borrow::Cow;

/// Longest DNS name in text form (RFC 1035, 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// Lower case, without port and without trailing dot. `None` when `text` is no `uri-host [":"
/// port]` (RFC 9110, 7.2): a user part, a path, an empty name, an impossible port.
pub(crate) fn normalise(text: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(text).ok()?;
    let (name, port) = split_port(text)?;
    if !port.is_none_or(is_port) {
        return None;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if !is_name(name) && !is_bracketed_ip(name) {
        return None;
    }
    Some(if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let after_bracket = text.rfind(']').map_or(0, |i| i + 1);
    match text.get(after_bracket..)?.find(':') {
        None => Some((text, None)),
        Some(colon) => {
            let (name, port) = text.split_at(after_bracket + colon);
            Some((name, port.get(1..)))
        }
    }
}

/// An empty port is legal (RFC 3986, 3.2.3) and means the default.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || (text.len() <= 5
            && text.bytes().all(|b| b.is_ascii_digit())
            && text.parse::<u16>().is_ok())
}

/// Letters, digits, hyphens, and the underscores some real names have.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

fn is_bracketed_ip(name: &str) -> bool {
    name.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_a_host() {
        for (text, expected) in [
            ("app.example.com", Some("app.example.com")),
            ("APP.Example.COM", Some("app.example.com")),
            ("app.example.com.", Some("app.example.com")),
            ("app.example.com:8080", Some("app.example.com")),
            ("App.example.com.:80", Some("app.example.com")),
            ("app.example.com:", Some("app.example.com")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("my_app.localhost", Some("my_app.localhost")),
            ("127.0.0.1:5000", Some("127.0.0.1")),
            ("[::1]:5000", Some("[::1]")),
            ("[2001:DB8::1]", Some("[2001:db8::1]")),
            ("", None),
            (".", None),
            (":80", None),
            ("a..b", None),
            (".app", None),
            ("app..", None),
            ("x@evil", None),
            ("app.example.com@evil", None),
            ("app/evil", None),
            ("app evil", None),
            ("app,evil", None),
            ("app\tevil", None),
            ("app:80:80", None),
            ("app:65536", None),
            ("app:-1", None),
            ("app:+1", None),
            ("app:8o", None),
            ("[::1", None),
            ("::1", None),
            ("[::1]x", None),
            ("[evil]", None),
            ("a%2eb", None),
            ("bücher.example", None),
        ] {
            assert_eq!(normalise(text.as_bytes()).as_deref(), expected, "{text:?}");
        }
        assert_eq!(normalise(&[0xff]), None);
        assert_eq!(normalise("a".repeat(64).as_bytes()), None);
        assert_eq!(normalise("a.".repeat(127).as_bytes()).map(|h| h.len()), Some(253));
        assert_eq!(normalise(format!("{}b", "a.".repeat(127)).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn a_normal_host_stays_as_it_is(text in "\\PC{0,40}") {
            if let Some(host) = normalise(text.as_bytes()) {
                prop_assert_eq!(normalise(host.as_bytes()), Some(host.clone()));
                prop_assert!(host.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()));
            }
        }
    }
}
