//! Which request heads are refused: everything two servers could read in two ways.
//!
//! hyper's parser already refuses what is malformed; these are the well-formed heads that a proxy
//! must not pass on (RFC 9112, sections 3.2 and 11.2).

use crate::RouterConfig;
use crate::host;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};
use std::borrow::Cow;

/// Longest method, header name: Heroku's vegur.
const MAX_METHOD_BYTES: usize = 127;
const MAX_HEADER_NAME_BYTES: usize = 1000;
/// ` HTTP/1.1` and the space before the target.
const REQUEST_LINE_REST_BYTES: usize = 10;

/// Why a request is answered 4xx without a dyno seeing it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    BadHost,
    BadTarget,
    BadMethod,
    BadHeader,
    BadTransferEncoding,
    BadChunk,
    UnsupportedExpect,
    LongRequestLine,
    LongHeader,
}

impl Refusal {
    /// The `cause="…"` of an H26 line. The texts for a header, a chunk and an expectation are
    /// Heroku's.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::BadHost => "bad host",
            Self::BadTarget => "bad request target",
            Self::BadMethod => "bad method",
            Self::BadHeader => "bad header",
            Self::BadTransferEncoding => "bad transfer encoding",
            Self::BadChunk => "bad chunk",
            Self::UnsupportedExpect => "unsupported expect header value",
            Self::LongRequestLine => "request line too long",
            Self::LongHeader => "header too long",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::UnsupportedExpect => StatusCode::EXPECTATION_FAILED,
            Self::LongRequestLine => StatusCode::URI_TOO_LONG,
            Self::LongHeader => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// The host a request is for: exactly one `Host`, and no other opinion in the target.
pub(crate) fn host(head: &Parts) -> Result<Cow<'_, str>, Refusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (Some(named), None) = (hosts.next(), hosts.next()) else {
        return Err(Refusal::BadHost);
    };
    let named = host::normalise(named.as_bytes()).ok_or(Refusal::BadHost)?;
    if let Some(authority) = head.uri.authority() {
        let meant = host::normalise(authority.as_str().as_bytes()).ok_or(Refusal::BadTarget)?;
        if meant != named {
            return Err(Refusal::BadTarget);
        }
    }
    Ok(named)
}

/// Everything about a head except its host.
pub(crate) fn check(head: &Parts, config: &RouterConfig) -> Result<(), Refusal> {
    if head.method == Method::CONNECT || head.method.as_str().len() > MAX_METHOD_BYTES {
        return Err(Refusal::BadMethod);
    }
    if head.version != Version::HTTP_11 && head.version != Version::HTTP_10 {
        return Err(Refusal::BadTarget);
    }
    check_target(&head.method, &head.uri, config)?;
    for (name, value) in &head.headers {
        if value.len() > config.max_header_value_bytes
            || name.as_str().len() > MAX_HEADER_NAME_BYTES
        {
            return Err(Refusal::LongHeader);
        }
    }
    check_framing(head)?;
    check_expect(head)
}

fn check_target(method: &Method, uri: &Uri, config: &RouterConfig) -> Result<(), Refusal> {
    let path = uri.path_and_query().map_or("", |p| p.as_str());
    let line = method.as_str().len() + path.len() + REQUEST_LINE_REST_BYTES;
    if line > config.max_request_line_bytes {
        return Err(Refusal::LongRequestLine);
    }
    let absolute = matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
    let origin = uri.scheme().is_none() && uri.authority().is_none();
    let rooted = path.starts_with('/') || (path == "*" && method == Method::OPTIONS);
    if (absolute || origin) && rooted { Ok(()) } else { Err(Refusal::BadTarget) }
}

/// A body has one length, and no header that says so may be called hop-by-hop by the client.
fn check_framing(head: &Parts) -> Result<(), Refusal> {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() || head.version == Version::HTTP_10 {
            return Err(Refusal::BadTransferEncoding);
        }
        // hyper drops the length in this case, reads the chunks and closes the connection after the
        // answer, as RFC 9112, 6.1 demands; should it ever keep both, the request ends here.
        if head.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(Refusal::BadTransferEncoding);
        }
    }
    let named = |name: &HeaderName| connection_names(head, name);
    if [header::HOST, header::CONTENT_LENGTH].iter().any(named) {
        return Err(Refusal::BadHeader);
    }
    Ok(())
}

fn connection_names(head: &Parts, name: &HeaderName) -> bool {
    head.headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|&b| b == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
    })
}

/// Heroku takes `100-continue` and an empty value.
fn check_expect(head: &Parts) -> Result<(), Refusal> {
    let known = |value: &[u8]| value.is_empty() || value.eq_ignore_ascii_case(b"100-continue");
    if head.headers.get_all(header::EXPECT).iter().all(|value| known(value.as_bytes())) {
        Ok(())
    } else {
        Err(Refusal::UnsupportedExpect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    /// Method, target, headers, verdict.
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Result<&'a str, Refusal>);

    fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn judge(head: &Parts) -> Result<String, Refusal> {
        check(head, &RouterConfig::default())?;
        host(head).map(Cow::into_owned)
    }

    #[test]
    fn heads_and_verdicts() {
        use Refusal::*;
        const HOST: (&str, &str) = ("host", "App.Test:80");
        let long = "x".repeat(8193);
        let long_target = format!("/{}", "x".repeat(8190));
        let cases: &[Case<'_>] = &[
            ("GET", "/", &[HOST], Ok("app.test")),
            ("GET", "/..%2fetc?q=%00", &[HOST], Ok("app.test")),
            ("OPTIONS", "*", &[HOST], Ok("app.test")),
            ("PROPFIND", "/", &[HOST], Ok("app.test")),
            ("GET", "*", &[HOST], Err(BadTarget)),
            ("GET", "/", &[], Err(BadHost)),
            ("GET", "/", &[HOST, HOST], Err(BadHost)),
            ("GET", "/", &[HOST, ("host", "evil")], Err(BadHost)),
            ("GET", "/", &[("host", "x@evil")], Err(BadHost)),
            ("GET", "/", &[("host", "")], Err(BadHost)),
            ("GET", "http://app.test/x", &[HOST], Ok("app.test")),
            ("GET", "http://app.test:80/x", &[HOST], Ok("app.test")),
            ("GET", "http://evil/x", &[HOST], Err(BadTarget)),
            ("GET", "http://u@app.test/x", &[HOST], Err(BadTarget)),
            ("GET", "ftp://app.test/x", &[HOST], Err(BadTarget)),
            ("GET", "app.test:80", &[HOST], Err(BadTarget)),
            ("CONNECT", "app.test:80", &[HOST], Err(BadMethod)),
            ("GET", &long_target, &[HOST], Err(LongRequestLine)),
            ("GET", "/", &[HOST, ("cookie", &long)], Err(LongHeader)),
            ("GET", "/", &[HOST, ("cookie", &long[1..])], Ok("app.test")),
            ("POST", "/", &[HOST, ("transfer-encoding", "Chunked")], Ok("app.test")),
            (
                "POST",
                "/",
                &[HOST, ("transfer-encoding", "gzip, chunked")],
                Err(BadTransferEncoding),
            ),
            (
                "POST",
                "/",
                &[HOST, ("transfer-encoding", "chunked"), ("content-length", "3")],
                Err(BadTransferEncoding),
            ),
            ("POST", "/", &[HOST, ("connection", "close, Content-Length")], Err(BadHeader)),
            ("POST", "/", &[HOST, ("connection", "host")], Err(BadHeader)),
            ("POST", "/", &[HOST, ("connection", "x-forwarded-for")], Ok("app.test")),
            ("POST", "/", &[HOST, ("expect", "100-Continue")], Ok("app.test")),
            ("POST", "/", &[HOST, ("expect", "")], Ok("app.test")),
            ("POST", "/", &[HOST, ("expect", "200-maybe")], Err(UnsupportedExpect)),
        ];
        for (method, target, headers, expected) in cases {
            let got = judge(&head(method, target, headers));
            assert_eq!(got.as_deref(), expected.as_deref(), "{method} {target:.40} {headers:.2?}");
        }
    }
}
