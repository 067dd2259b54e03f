//! Source archives that lie somewhere else, fetched without letting anybody look inside.
//!
//! Whoever names a URL makes this host connect to it, and the host reaches more than its users may:
//! its own loopback, dynos, the provider's metadata. So every address is checked before it is
//! connected to, and curl is told to connect to one of those whatever it reads in the URL and whatever
//! the name leads to a moment later (`--connect-to`, `--resolve`). Redirects are followed here, each by
//! the same rules. No proxy is used: it would connect where nobody has checked.

use super::error::ApiError;
use super::sources::{self, Bounds};
use axum::body::Body;
use axum::http::Uri;
use lathe_logs::drain::Reach;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

/// From the first look-up to the last byte.
const TIMEOUT: Duration = Duration::from_secs(90);
const REDIRECTS_MAX: usize = 5;
/// What curl says at the end: an error, and where it is sent on to.
const REPORT_BYTES_MAX: u64 = 8 * 1024;
const REASON_CHARS_MAX: usize = 300;
/// Has the addresses that were checked, for curl alone: nobody else knows a name like this (RFC 2606).
const STAND_IN: &str = "source.invalid";

/// What may be fetched.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    pub(super) bounds: Bounds,
    pub(super) reach: Reach,
    /// Certificate authorities in PEM; none: those of the host.
    pub(super) roots: Option<&'a Path>,
}

/// Fetches `url` into the file `to`. A file that is only half there is left to the caller.
pub(super) async fn fetch(limits: &Limits<'_>, url: &str, to: &Path) -> Result<(), ApiError> {
    let fetched = timeout(TIMEOUT, follow(limits, url, to)).await;
    fetched.unwrap_or_else(|_| {
        Err(refused(&format!("it took longer than {} seconds", TIMEOUT.as_secs())))
    })
}

async fn follow(limits: &Limits<'_>, url: &str, to: &Path) -> Result<(), ApiError> {
    let mut place = Place::of(url)?;
    for _ in 0..=REDIRECTS_MAX {
        let addresses = place.resolve(&limits.reach).await?;
        let mut curl =
            curl(limits, &place, &addresses).spawn().map_err(|error| ApiError::internal(&error))?;
        let next = transfer(&mut curl, limits, &place, to).await?;
        match next {
            None => return Ok(()),
            Some(next) => place = Place::of(&next)?,
        }
    }
    Err(refused(&format!("it is redirected more than {REDIRECTS_MAX} times")))
}

/// One request to the first of the addresses that takes a connection.
fn curl(limits: &Limits<'_>, place: &Place, addresses: &[IpAddr]) -> Command {
    let written = addresses.iter().map(|address| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    });
    let (port, addresses) = (place.port, written.collect::<Vec<_>>().join(","));
    let mut curl = Command::new("curl");
    // First, or a `.curlrc` of the host counts.
    curl.args(["--disable", "--silent", "--show-error", "--fail", "--globoff"])
        .args(["--proto", "=https", "--noproxy", "*"])
        .args(["--connect-to", &format!("::{STAND_IN}:{port}")])
        .args(["--resolve", &format!("{STAND_IN}:{port}:{addresses}")])
        .args(["--write-out", "%{stderr}\n%{redirect_url}"])
        .args(limits.roots.iter().flat_map(|roots| [Path::new("--cacert"), roots]))
        .args(["--", &place.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    curl
}

/// Stores what comes, and says where to go on when it was a redirect.
async fn transfer(
    curl: &mut Child,
    limits: &Limits<'_>,
    place: &Place,
    to: &Path,
) -> Result<Option<String>, ApiError> {
    let failed = |error: std::io::Error| ApiError::internal(&error);
    if let Some(archive) = curl.stdout.take() {
        // Counted here: curl's own limit holds only for lengths that are announced.
        let body = Body::from_stream(ReaderStream::new(archive));
        sources::store(body, to, &limits.bounds).await?;
    }
    let mut report = String::new();
    if let Some(errors) = curl.stderr.take() {
        errors.take(REPORT_BYTES_MAX).read_to_string(&mut report).await.map_err(failed)?;
    }
    let status = curl.wait().await.map_err(failed)?;
    let (said, next) = report.rsplit_once('\n').unwrap_or((&report, ""));
    if !status.success() {
        return Err(refused(&said.trim().replace(STAND_IN, &place.host)));
    }
    Ok((!next.is_empty()).then(|| next.to_owned()))
}

fn refused(reason: &str) -> ApiError {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    ApiError::invalid(format!("The source archive could not be fetched: {reason}"))
}

/// Where an archive lies: an https URL in parts that can be read in one way only.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    host: String,
    port: u16,
    path: String,
}

impl Place {
    fn of(url: &str) -> Result<Self, ApiError> {
        let unusable =
            || ApiError::invalid("source_blob.url must be an https URL without user and password");
        let uri: Uri = url.parse().map_err(|_| unusable())?;
        let authority = uri.authority().ok_or_else(unusable)?;
        let host = authority.host();
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let plain = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(is_name),
        };
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') || !plain {
            return Err(unusable());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let port = authority.port_u16().unwrap_or(443);
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }

    /// The addresses to connect to, one at least. One address inside refuses the whole name: who
    /// mixes them hopes for the other one.
    async fn resolve(&self, reach: &Reach) -> Result<Vec<IpAddr>, ApiError> {
        let host = self.host.trim_matches(['[', ']']);
        let found = tokio::net::lookup_host((host, self.port)).await;
        let found = found.map_err(|_| refused("its host is not known"))?;
        let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        if let Some(reason) = found.iter().find_map(|address| reach.refusal(*address)) {
            return Err(refused(&format!("its host is {reason}, and only public ones are asked")));
        }
        if found.is_empty() {
            return Err(refused("its host has no address"));
        }
        Ok(found)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk::Floor;
    use std::sync::Arc;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    #[test]
    fn a_url_has_one_reading() {
        for (url, expected) in [
            ("https://example.com/a.tgz?x=1#y", Some("https://example.com:443/a.tgz?x=1")),
            ("https://example.com:8443", Some("https://example.com:8443/")),
            ("https://[2001:4860::1]/a", Some("https://[2001:4860::1]:443/a")),
            ("http://example.com/a", None),
            ("file:///etc/passwd", None),
            ("https://user@example.com/a", None),
            ("https://example.com:443@127.0.0.1/a", None),
            ("https://exa%6dple.com/a", None),
            ("https://example.com\\@127.0.0.1/a", None),
            ("https:///a", None),
            ("/a", None),
            ("", None),
        ] {
            let place = Place::of(url).ok().map(|place| place.to_string());
            assert_eq!(place.as_deref(), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn every_spelling_of_an_inside_address_is_refused() {
        let inside = ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "0177.0.0.1"];
        let others = ["[::ffff:127.0.0.1]", "169.254.169.254", "10.1.2.3", "0.0.0.0", "[fe80::1]"];
        for host in inside.iter().chain(&others) {
            let place = Place::of(&format!("https://{host}/")).unwrap();
            assert!(place.resolve(&Reach::default()).await.is_err(), "{host}");
        }
        assert!(Place::of("https://8.8.8.8/").unwrap().resolve(&Reach::default()).await.is_ok());
    }

    /// A TLS server on loopback: `/N` redirects N times, `/out` leads inside, `/endless` never ends.
    async fn server(dir: &Path) -> (u16, std::path::PathBuf) {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let roots = dir.join("roots.pem");
        std::fs::write(&roots, key.cert.pem()).unwrap();
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![key.cert.der().clone()], private.unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = [0; 1024];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap();
                let to = |place: &str| {
                    format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n")
                };
                let answer = match path.trim_start_matches('/').parse::<u32>() {
                    Ok(0) => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nslug!".into(),
                    Ok(more) => to(&format!("/{}", more - 1)),
                    Err(_) if path == "/out" => to("https://10.0.0.1/"),
                    Err(_) if path == "/plain" => to("http://localhost/"),
                    Err(_) if path == "/endless" => {
                        "HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"x".repeat(4096)
                    }
                    Err(_) => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".into(),
                };
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            }
        });
        (port, roots)
    }

    #[tokio::test]
    async fn redirects_are_checked_like_the_first_address_and_length_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (port, roots) = server(dir.path()).await;
        let to = dir.path().join("archive");
        let reach = Reach {
            allowed: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
            refused: vec![],
        };
        let bounds = Bounds { bytes_max: 1000, floor: Floor::at(Path::new("/"), 1), idle: TIMEOUT };
        let limits = Limits { bounds, reach, roots: Some(&roots) };
        for (path, expected) in [
            ("0", None),
            ("5", None),
            ("6", Some("redirected more than 5 times")),
            ("out", Some("a private address")),
            ("plain", Some("must be an https URL")),
            ("endless", Some("larger than 1000 bytes")),
            ("missing", Some("404")),
        ] {
            let fetched = fetch(&limits, &format!("https://localhost:{port}/{path}"), &to).await;
            match (fetched, expected) {
                (Ok(()), None) => assert_eq!(std::fs::read(&to).unwrap(), b"slug!", "{path}"),
                (Err(error), Some(reason)) => {
                    assert!(format!("{error:?}").contains(reason), "{path}: {error:?}");
                }
                (fetched, _) => panic!("{path}: {fetched:?}"),
            }
        }
    }
}
