//! What changes in a head on its way through: hop-by-hop fields go, the router's own come.

use crate::random;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const VIA: HeaderValue = HeaderValue::from_static("1.1 lathe");

/// What the router says about a request to the dyno that serves it.
#[derive(Debug)]
pub(crate) struct Provenance {
    pub(crate) forwarded_for: HeaderValue,
    pub(crate) request_id: HeaderValue,
    pub(crate) scheme: &'static str,
    pub(crate) port: u16,
    pub(crate) start_ms: i64,
}

/// A client's address, as it is told.
pub(crate) fn address(client: IpAddr) -> HeaderValue {
    let text = client.to_canonical().to_string();
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The client's address, right of those it claims to have come through.
pub(crate) fn forwarded_for(headers: &HeaderMap, client: &HeaderValue) -> HeaderValue {
    if !headers.contains_key(X_FORWARDED_FOR) {
        return client.clone();
    }
    let mut chain = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(client.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(chain))
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// The client's request id when it is one (Heroku: 20 to 200 letters, digits, hyphens), else a
/// fresh UUID.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let mut given = headers.get_all(X_REQUEST_ID).iter();
    if let (Some(id), None) = (given.next(), given.next())
        && is_request_id(id.as_bytes())
    {
        return id.clone();
    }
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = random::uuid().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn is_request_id(id: &[u8]) -> bool {
    (20..=200).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Turns the head a client sent into the head a dyno gets. With `upgrade` the client's `Upgrade`
/// is passed on.
pub(crate) fn to_dyno(headers: &mut HeaderMap, from: &Provenance, upgrade: bool) {
    let protocol = if upgrade { headers.remove(header::UPGRADE) } else { None };
    strip(headers, |name| is_hop_by_hop(name) || is_forgery(name) || name == header::EXPECT);
    headers.insert(X_FORWARDED_FOR, from.forwarded_for.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(from.scheme));
    headers.insert(X_FORWARDED_PORT, HeaderValue::from(from.port));
    headers.insert(X_REQUEST_START, HeaderValue::from(from.start_ms));
    headers.insert(X_REQUEST_ID, from.request_id.clone());
    headers.append(header::VIA, VIA);
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Turns the head a dyno sent into the head the client gets.
pub(crate) fn to_client(headers: &mut HeaderMap, upgrade: bool) {
    let protocol = if upgrade { headers.remove(header::UPGRADE) } else { None };
    strip(headers, is_hop_by_hop);
    headers.append(header::VIA, VIA);
    if upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Whether the client asks to leave HTTP: `Upgrade`, and `Connection` saying so.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers.get_all(header::CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|&b| b == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        })
}

/// Removes what `Connection` names, and the fields of which `is_unwanted`.
fn strip(headers: &mut HeaderMap, is_unwanted: impl Fn(&str) -> bool) {
    if headers.contains_key(header::CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    // Looked at one by one, and mostly none of them goes: that is cheaper than to look for each.
    let unwanted: Vec<_> =
        headers.keys().filter(|name| is_unwanted(name.as_str())).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// Fields of one connection only (RFC 9110, 7.6.1), and `Proxy`, which CGI-like servers would turn
/// into `HTTP_PROXY` (httpoxy, CVE-2016-5385).
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
        .collect()
}

/// What could pass for the router's own word: any other `X-Forwarded-…` or `Forwarded` (RFC 7239),
/// and `X_Forwarded_For`, which is the same variable as `X-Forwarded-For` to WSGI, Rack and PHP.
fn is_forgery(name: &str) -> bool {
    const VOUCHED: [&str; 8] = [
        "x-forwarded-",
        "x-request-",
        "content-length",
        "transfer-encoding",
        "host",
        "proxy",
        "via",
        "connection",
    ];
    if name.contains('_') {
        let spelt = name.replace('_', "-");
        return VOUCHED.iter().any(|vouched| spelt.starts_with(vouched));
    }
    name == "forwarded" || name.starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    fn list(headers: &HeaderMap) -> Vec<String> {
        let mut list: Vec<_> =
            headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        list.sort();
        list
    }

    fn provenance() -> Provenance {
        Provenance {
            forwarded_for: HeaderValue::from_static("192.0.2.7"),
            request_id: HeaderValue::from_static("0123456789-0123456789"),
            scheme: "https",
            port: 443,
            start_ms: 1_700_000_000_123,
        }
    }

    #[test]
    fn a_dyno_gets_the_routers_word_only() {
        let mut headers = map(&[
            ("host", "app.test"),
            ("connection", "X-Forwarded-For, x-secret, keep-alive"),
            ("x-secret", "1"),
            ("keep-alive", "300"),
            ("proxy", "http://evil"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=6.6.6.6"),
            ("x-request-start", "0"),
            ("x_forwarded_proto", "gopher"),
            ("x_request_id", "evil"),
            ("content_length", "7"),
            ("my_header", "kept"),
            ("via", "1.0 cdn"),
        ]);
        to_dyno(&mut headers, &provenance(), false);
        assert_eq!(
            list(&headers),
            [
                "host: app.test",
                "my_header: kept",
                "via: 1.0 cdn",
                "via: 1.1 lathe",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-port: 443",
                "x-forwarded-proto: https",
                "x-request-id: 0123456789-0123456789",
                "x-request-start: 1700000000123",
            ]
        );
    }

    #[test]
    fn an_upgrade_passes_when_it_is_one() {
        for (fields, expected) in [
            (&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")][..], true),
            (&[("upgrade", "websocket"), ("connection", "keep-alive")], false),
            (&[("connection", "upgrade")], false),
        ] {
            assert_eq!(wants_upgrade(&map(fields)), expected, "{fields:?}");
        }
        let mut headers = map(&[("upgrade", "websocket"), ("connection", "upgrade")]);
        to_dyno(&mut headers, &provenance(), true);
        assert_eq!(headers["upgrade"], "websocket");
        assert_eq!(headers["connection"], "upgrade");
    }

    #[test]
    fn a_client_gets_no_hop_by_hop_fields() {
        let mut headers = map(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/plain"),
        ]);
        to_client(&mut headers, false);
        assert_eq!(list(&headers), ["content-type: text/plain", "via: 1.1 lathe"]);
    }

    #[test]
    fn addresses_are_appended_on_the_right() {
        let v4 = address("::ffff:192.0.2.7".parse().unwrap());
        let claimed = map(&[("x-forwarded-for", "a"), ("x-forwarded-for", "b, c")]);
        assert_eq!(forwarded_for(&map(&[]), &v4), "192.0.2.7");
        assert_eq!(forwarded_for(&claimed, &v4), "a, b, c, 192.0.2.7");
    }

    #[test]
    fn request_ids_kept_and_made() {
        let (short, long) = ("a".repeat(19), "a".repeat(201));
        for (given, kept) in [
            ("01234567-89ab-cdef-0123-456789abcdef", true),
            (&"Z".repeat(20), true),
            (&"9".repeat(200), true),
            (&short, false),
            (&long, false),
            ("01234567-89ab-cdef-0123-\"quoted\"", false),
            ("01234567 89ab cdef 0123", false),
        ] {
            let id = request_id(&map(&[("x-request-id", given)]));
            assert_eq!(id == given, kept, "{given}");
            assert!(is_request_id(id.as_bytes()));
        }
        let twice = map(&[("x-request-id", &"Z".repeat(20)), ("x-request-id", &"Z".repeat(20))]);
        assert_eq!(request_id(&twice).len(), 36);
    }
}
