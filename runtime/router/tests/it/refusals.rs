//! Requests two servers could read in two ways: refused, or one request seen by the dyno.

use crate::world::{Dyno, World, patient};
use lathe_router::RouterConfig;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What must come of a raw request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Answered with this status; no dyno sees anything.
    Refused(u16),
    /// Not even answered.
    Closed,
    /// The dyno sees exactly this many requests.
    Passed(usize),
}
use Verdict::{Closed, Passed, Refused};

/// Name, raw bytes, verdict. `H` stands for a good `Host` line.
const CORPUS: &[(&str, &str, Verdict)] = &[
    ("plain", "GET / HTTP/1.1\r\nH\r\n", Passed(1)),
    ("no host", "GET / HTTP/1.1\r\n\r\n", Refused(400)),
    ("no host, 1.0", "GET / HTTP/1.0\r\n\r\n", Refused(400)),
    ("two hosts", "GET / HTTP/1.1\r\nHHost: evil.test\r\n\r\n", Refused(400)),
    ("two equal hosts", "GET / HTTP/1.1\r\nHH\r\n", Refused(400)),
    ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", Refused(400)),
    ("user in host", "GET / HTTP/1.1\r\nHost: app.test@evil.test\r\n\r\n", Refused(400)),
    ("path in host", "GET / HTTP/1.1\r\nHost: app.test/evil\r\n\r\n", Refused(400)),
    ("list in host", "GET / HTTP/1.1\r\nHost: app.test, evil.test\r\n\r\n", Refused(400)),
    ("bad port", "GET / HTTP/1.1\r\nHost: app.test:99999\r\n\r\n", Refused(400)),
    ("ip host", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", Refused(404)),
    ("punycode host", "GET / HTTP/1.1\r\nHost: xn--bcher-kva.test\r\n\r\n", Refused(404)),
    ("upper case, dot, port", "GET / HTTP/1.1\r\nHost: APP.test.:443\r\n\r\n", Passed(1)),
    ("space before colon", "GET / HTTP/1.1\r\nHost : app.test\r\n\r\n", Refused(400)),
    ("absolute form", "GET http://app.test/ HTTP/1.1\r\nH\r\n", Passed(1)),
    ("absolute form elsewhere", "GET http://evil.test/ HTTP/1.1\r\nH\r\n", Refused(400)),
    ("absolute form, user", "GET http://x@app.test/ HTTP/1.1\r\nH\r\n", Refused(400)),
    ("other scheme", "GET file:///etc/passwd HTTP/1.1\r\nH\r\n", Refused(400)),
    ("authority form", "GET app.test:80 HTTP/1.1\r\nH\r\n", Refused(400)),
    ("bare word", "GET evil HTTP/1.1\r\nH\r\n", Refused(400)),
    ("connect", "CONNECT app.test:80 HTTP/1.1\r\nH\r\n", Refused(400)),
    ("asterisk", "OPTIONS * HTTP/1.1\r\nH\r\n", Passed(1)),
    ("get asterisk", "GET * HTTP/1.1\r\nH\r\n", Refused(400)),
    ("encoded dots", "GET /..%2f..%2fetc HTTP/1.1\r\nH\r\n", Passed(1)),
    ("http/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Closed),
    ("http/0.9", "GET /\r\n\r\n", Refused(400)),
    ("http/1.2", "GET / HTTP/1.2\r\nH\r\n", Refused(400)),
    ("nul in header", "GET / HTTP/1.1\r\nHX: a\0b\r\n\r\n", Refused(400)),
    ("bare cr", "GET / HTTP/1.1\r\nHX: a\rY: b\r\n\r\n", Refused(400)),
    ("folded header", "GET / HTTP/1.1\r\nHX: a\r\n b\r\n\r\n", Refused(400)),
    ("leading space", "GET / HTTP/1.1\r\n X: a\r\nH\r\n", Refused(400)),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        Refused(400),
    ),
    ("list of lengths", "POST / HTTP/1.1\r\nHContent-Length: 1, 1\r\n\r\na", Refused(400)),
    ("signed length", "POST / HTTP/1.1\r\nHContent-Length: +1\r\n\r\na", Refused(400)),
    ("hex length", "POST / HTTP/1.1\r\nHContent-Length: 0x1\r\n\r\na", Refused(400)),
    (
        "equal lengths",
        "POST / HTTP/1.1\r\nHContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        Passed(1),
    ),
    (
        "gzip, chunked",
        "POST / HTTP/1.1\r\nHTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunked, gzip",
        "POST / HTTP/1.1\r\nHTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    ("xchunked", "POST / HTTP/1.1\r\nHTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Refused(400)),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "chunked, 1.0",
        "POST / HTTP/1.0\r\nHTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "length via connection",
        "POST / HTTP/1.1\r\nHConnection: Content-Length\r\nContent-Length: 1\r\n\r\na",
        Refused(400),
    ),
    ("host via connection", "GET / HTTP/1.1\r\nHConnection: host\r\n\r\n", Refused(400)),
    (
        "unknown expectation",
        "POST / HTTP/1.1\r\nHExpect: 200-ok\r\nContent-Length: 1\r\n\r\na",
        Refused(417),
    ),
    // The request after the first must not be taken from its body's bytes.
    (
        "length and chunked",
        "POST / HTTP/1.1\r\nHContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nH\r\n",
        Passed(1),
    ),
    (
        "chunked and length",
        "POST / HTTP/1.1\r\nHTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nH\r\n",
        Passed(1),
    ),
    (
        "request in a body",
        "POST / HTTP/1.1\r\nHContent-Length: 42\r\n\r\nGET /evil HTTP/1.1\r\nHost: app.test\r\n\r\n1234",
        Passed(1),
    ),
    ("body of a get", "GET / HTTP/1.1\r\nHContent-Length: 4\r\n\r\nbody", Passed(1)),
    ("pipelined", "GET / HTTP/1.1\r\nH\r\nGET / HTTP/1.1\r\nH\r\n", Passed(2)),
    (
        "after a refusal",
        "GET / HTTP/1.1\r\nHost: x@y\r\n\r\nGET /evil HTTP/1.1\r\nH\r\n",
        Refused(400),
    ),
];

/// A dyno that notes the head of each request and reads its body.
async fn witness() -> (Dyno, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let dyno = Dyno::new("web.1", move |mut client| {
        let notes = Arc::clone(&notes);
        async move {
            while let Some(head) = client.head().await {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.and_then(|n| n.parse().ok()).unwrap_or(0);
                client.bytes(length).await;
                if head.contains("transfer-encoding: chunked") {
                    client.head().await;
                }
                notes.lock().unwrap().push(head);
                client.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    (dyno, seen)
}

/// fault H1, H4: two servers that would read a request in two ways, or a host in two spellings.
#[tokio::test]
async fn nothing_is_read_in_two_ways() {
    let (dyno, seen) = witness().await;
    let config = RouterConfig { keep_alive_timeout: Duration::from_millis(100), ..patient() };
    let world = World::new(config, &[&dyno]).await;
    for (name, raw, verdict) in CORPUS {
        let raw = raw.replace('H', "\u{1}").replace("\u{1}TTP", "HTTP").replace("\u{1}ost", "Host");
        let raw = raw.replace('\u{1}', "Host: app.test\r\n");
        let answer = world.exchange(&raw).await;
        let heads = std::mem::take(&mut *seen.lock().unwrap());
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        match verdict {
            Refused(expected) => {
                assert_eq!(status, Some(*expected), "{name}: {answer}");
                assert_eq!(heads.len(), 0, "{name}: {heads:?}");
            }
            Closed => assert_eq!((answer.as_str(), heads.len()), ("", 0), "{name}"),
            Passed(count) => {
                assert_eq!(status, Some(200), "{name}: {answer}");
                assert_eq!(heads.len(), *count, "{name}: {heads:?}");
            }
        }
        for head in heads {
            assert!(!head.contains("/evil"), "{name}: {head}");
            let lengths = head.matches("content-length").count();
            let codings = head.matches("transfer-encoding").count();
            assert!(lengths + codings <= 1, "{name}: {head}");
            assert_eq!(head.matches("host: ").count(), 1, "{name}: {head}");
        }
    }
}

#[tokio::test]
async fn a_refusal_for_a_known_app_is_logged() {
    let (dyno, _) = witness().await;
    let mut world = World::new(patient(), &[&dyno]).await;
    for (raw, cause, status) in [
        ("Expect: magic\r\n", "unsupported expect header value", 417),
        ("Connection: host\r\n", "bad header", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", "bad transfer encoding", 400),
    ] {
        world.exchange(format!("POST /\"x HTTP/1.1\r\nHost: app.test\r\n{raw}\r\n")).await;
        let line = world.line().await;
        let start = format!(
            "at=error code=H26 desc=\"Request Error\" cause=\"{cause}\" method=POST path=\"/\\\"x\" "
        );
        assert!(line.starts_with(&start), "{line}");
        let end = format!(" dyno= connect= service= status={status} bytes= protocol=http");
        assert!(line.ends_with(&end), "{line}");
    }
}
