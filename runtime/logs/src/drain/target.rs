//! A drain's URL, taken apart: where to, in which language, with which credentials.

use ::http::{HeaderValue, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;
use std::str::FromStr;

const URL_BYTES_MAX: usize = 2048;

/// `https://`, `http://`, `syslog+tls://` or `syslog://`. Shown without credentials and path, which
/// often holds a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) scheme: Scheme,
    /// A name or an address, an IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, at least `/`.
    pub(super) path: String,
    /// The value of an `Authorization` header.
    pub(super) authorization: Option<HeaderValue>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    Http,
    Https,
    Syslog,
    SyslogTls,
}

#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("a drain URL has at most {URL_BYTES_MAX} bytes")]
    Length,
    #[error("the drain URL cannot be read")]
    Syntax(#[source] ::http::uri::InvalidUri),
    #[error("a drain URL begins with https://, http://, syslog+tls:// or syslog://")]
    Scheme,
    #[error("the drain URL names no host")]
    Host,
    #[error("user and password in a drain URL are percent-encoded UTF-8")]
    Credentials,
    #[error("a syslog drain URL has no user, password or path: syslog+tls://host:port")]
    Syslog,
}

impl Target {
    /// What the `Host` header says.
    pub(super) fn authority(&self) -> String {
        let host = self.bracketed();
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Syslog => "syslog",
            Self::SyslogTls => "syslog+tls",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Syslog => 514,
            Self::SyslogTls => 6514,
        }
    }

    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::SyslogTls)
    }

    pub(super) fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        if url.len() > URL_BYTES_MAX {
            return Err(TargetError::Length);
        }
        let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let scheme = match scheme.as_deref() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some("syslog") => Scheme::Syslog,
            Some("syslog+tls") => Scheme::SyslogTls,
            _ => return Err(TargetError::Scheme),
        };
        let uri: Uri = url.parse().map_err(TargetError::Syntax)?;
        let authority = uri.authority().ok_or(TargetError::Host)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(TargetError::Host);
        }
        let userinfo = authority.as_str().rsplit_once('@').map(|(userinfo, _)| userinfo);
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        if !scheme.is_http() && (userinfo.is_some() || path != "/") {
            return Err(TargetError::Syslog);
        }
        let port = uri.port_u16().unwrap_or(scheme.default_port());
        let authorization = userinfo.map(basic).transpose()?;
        Ok(Self { scheme, host, port, path, authorization })
    }
}

/// RFC 7617: `Basic` and base64 of `user:password`.
fn basic(userinfo: &str) -> Result<HeaderValue, TargetError> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let decode = |text| percent_decoded(text).ok_or(TargetError::Credentials);
    let pair = BASE64.encode(format!("{}:{}", decode(user)?, decode(password)?));
    let mut value =
        HeaderValue::from_str(&format!("Basic {pair}")).map_err(|_| TargetError::Credentials)?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 3986, section 2.1; `None` for a broken escape or what is no UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}/", self.scheme.as_str(), self.bracketed(), self.port)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            (
                "https://logs.example.com",
                "https://logs.example.com:443/",
                "logs.example.com",
                "/",
                None,
            ),
            ("http://h:8080/in?key=1", "http://h:8080/", "h:8080", "/in?key=1", None),
            ("https://[::1]:99/x", "https://[::1]:99/", "[::1]:99", "/x", None),
            ("syslog://h:601", "syslog://h:601/", "h:601", "/", None),
            ("syslog+tls://h/", "syslog+tls://h:6514/", "h", "/", None),
            ("https://me:p%40ss@h/x", "https://h:443/", "h", "/x", Some("Basic bWU6cEBzcw==")),
            ("HTTPS://token@h", "https://h:443/", "h", "/", Some("Basic dG9rZW46")),
        ];
        for (url, shown, authority, path, authorization) in cases {
            let target: Target = url.parse().unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(target.authority(), authority);
            assert_eq!(target.path, path);
            let got = target.authorization.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(got, authorization);
            assert!(!format!("{target:?}").contains("p@ss"));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("https://h/{}", "x".repeat(3000));
        for url in [
            "",
            "logs.example.com",
            "file:///etc/passwd",
            "gopher://h/",
            "https://",
            "https:///x",
            "syslog://h/path",
            "syslog://me@h:1",
            "https://%zz@h/",
            "https://a%f@h/",
            "http://h h/",
            "https://%ff@h/",
            &long,
        ] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }
}
