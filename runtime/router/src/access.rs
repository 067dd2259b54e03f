//! The router's log line: one for each request, in Heroku's words and order.

use crate::doors::Entrance;
use crate::fault::Fault;
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt::Write as _;
use std::time::Duration;

/// Most bytes of one client-made field that reach a log; the rest is cut.
const MAX_FIELD_BYTES: usize = 2048;

/// What a line says. Absent figures are printed as nothing, as Heroku does.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    pub(crate) fault: Option<Fault>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) host: &'a str,
    pub(crate) request_id: &'a [u8],
    pub(crate) forwarded_for: &'a [u8],
    pub(crate) dyno: Option<&'a str>,
    pub(crate) connect: Option<Duration>,
    pub(crate) service: Option<Duration>,
    pub(crate) status: Option<u16>,
    pub(crate) bytes: Option<u64>,
    pub(crate) entrance: Entrance,
}

/// `at=info method=GET path="/" host=… request_id=… fwd="…" dyno=web.1 connect=1ms service=18ms
/// status=200 bytes=13 protocol=http` (Heroku Dev Center, "HTTP Routing" and "Error Codes"), and for
/// those who came by TLS `protocol=https tls=true tls_version=tls1.3` (ibid., "Router 2.0"). With its
/// line feed, so that the log takes it as it is.
pub(crate) fn line(access: &Access<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(320 + access.path.len().min(MAX_FIELD_BYTES));
    put_outcome(&mut out, access.fault);
    out.put_slice(b"method=");
    put_bare(&mut out, access.method.as_bytes());
    out.put_slice(b" path=\"");
    put_escaped(&mut out, access.path.as_bytes());
    out.put_slice(b"\" host=");
    put_bare(&mut out, access.host.as_bytes());
    out.put_slice(b" request_id=");
    put_bare(&mut out, access.request_id);
    out.put_slice(b" fwd=\"");
    put_escaped(&mut out, access.forwarded_for);
    out.put_slice(b"\" dyno=");
    put_bare(&mut out, access.dyno.unwrap_or_default().as_bytes());
    put_ms(&mut out, " connect=", access.connect);
    put_ms(&mut out, " service=", access.service);
    put_number(&mut out, " status=", access.status.map(u64::from));
    put_number(&mut out, " bytes=", access.bytes);
    out.put_slice(b" protocol=");
    out.put_slice(access.entrance.scheme().as_bytes());
    if let Entrance::Tls(version) = access.entrance {
        put_all(&mut out, &[" tls=true tls_version=", version]);
    }
    out.put_u8(b'\n');
    out.freeze()
}

fn put_outcome(out: &mut BytesMut, fault: Option<Fault>) {
    let Some(fault) = fault else {
        out.put_slice(b"at=info ");
        return;
    };
    let row = fault.row();
    if let Some(socket) = row.socket {
        put_all(out, &["sock=", socket, " "]);
    }
    put_all(out, &["at=", row.level, " code=", row.code, " desc=\"", row.desc, "\" "]);
    if let Some(cause) = fault.cause() {
        put_all(out, &["cause=\"", cause, "\" "]);
    }
}

fn put_all(out: &mut BytesMut, words: &[&str]) {
    for word in words {
        out.put_slice(word.as_bytes());
    }
}

fn put_ms(out: &mut BytesMut, name: &str, time: Option<Duration>) {
    out.put_slice(name.as_bytes());
    if let Some(time) = time {
        // Writing to a growing buffer cannot fail.
        let _ = write!(out, "{}ms", time.as_millis());
    }
}

fn put_number(out: &mut BytesMut, name: &str, number: Option<u64>) {
    out.put_slice(name.as_bytes());
    if let Some(number) = number {
        let _ = write!(out, "{number}");
    }
}

/// Inside quotes: quotes and backslashes are escaped, everything unprintable becomes `\xNN`, so
/// that a request can end neither its field nor its line, nor drive a terminal.
fn put_escaped(out: &mut BytesMut, field: &[u8]) {
    let plain = |byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
    put_field(out, field, plain, |out, byte| match byte {
        b'"' | b'\\' => out.put_slice(&[b'\\', byte]),
        _ => put_hex(out, byte),
    });
}

/// Outside quotes: also no space and no quote.
fn put_bare(out: &mut BytesMut, field: &[u8]) {
    let plain = |byte| matches!(byte, b'!' | b'#'..=b'<' | b'>'..=b'[' | b']'..=b'~');
    put_field(out, field, plain, put_hex);
}

fn put_hex(out: &mut BytesMut, byte: u8) {
    let _ = write!(out, "\\x{byte:02x}");
}

/// What is plain is put as it is, many bytes at a time: almost everything.
fn put_field(
    out: &mut BytesMut,
    field: &[u8],
    plain: impl Fn(u8) -> bool,
    put_other: impl Fn(&mut BytesMut, u8),
) {
    let mut rest = field.get(..MAX_FIELD_BYTES).unwrap_or(field);
    loop {
        let end = rest.iter().position(|byte| !plain(*byte));
        let (head, tail) = rest.split_at(end.unwrap_or(rest.len()));
        out.put_slice(head);
        let Some((other, after)) = tail.split_first() else { return };
        put_other(out, *other);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Refusal;
    use proptest::prelude::*;

    fn access(fault: Option<Fault>) -> Access<'static> {
        Access {
            fault,
            method: "GET",
            path: "/",
            host: "app.test",
            request_id: b"8601b555-6a83-4c12-8269-97c8e32cdb22",
            forwarded_for: b"204.204.204.204",
            dyno: Some("web.1"),
            connect: Some(Duration::from_micros(1900)),
            service: Some(Duration::from_millis(18)),
            status: Some(200),
            bytes: Some(13),
            entrance: Entrance::Plain,
        }
    }

    fn text(access: &Access<'_>) -> String {
        String::from_utf8(line(access).to_vec()).unwrap()
    }

    #[test]
    fn lines_as_heroku_prints_them() {
        const REST: &str = "method=GET path=\"/\" host=app.test \
            request_id=8601b555-6a83-4c12-8269-97c8e32cdb22 fwd=\"204.204.204.204\"";
        let nowhere = |fault, status| Access {
            dyno: None,
            connect: None,
            service: None,
            status: Some(status),
            bytes: None,
            ..access(Some(fault))
        };
        for (access, start, end) in [
            (
                access(None),
                "at=info",
                "dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=http",
            ),
            (
                Access { entrance: Entrance::Tls("tls1.3"), ..access(None) },
                "at=info",
                "dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=https tls=true \
                 tls_version=tls1.3",
            ),
            (
                nowhere(Fault::AppCrashed, 503),
                "at=error code=H10 desc=\"App crashed\"",
                "dyno= connect= service= status=503 bytes= protocol=http",
            ),
            (
                Access { status: Some(499), ..access(Some(Fault::ClientInterrupted)) },
                "sock=client at=warning code=H27 desc=\"Client Request Interrupted\"",
                "dyno=web.1 connect=1ms service=18ms status=499 bytes=13 protocol=http",
            ),
            (
                nowhere(Fault::BadRequest(Refusal::UnsupportedExpect), 417),
                "at=error code=H26 desc=\"Request Error\" cause=\"unsupported expect header value\"",
                "dyno= connect= service= status=417 bytes= protocol=http",
            ),
        ] {
            assert_eq!(text(&access), format!("{start} {REST} {end}\n"));
        }
    }

    #[test]
    fn a_request_cannot_write_fields_of_its_own() {
        let hostile = Access {
            path: "/\" status=200 \\\r\n\u{1b}[31m",
            host: "a b=\"",
            forwarded_for: b"\xff\", x",
            ..access(None)
        };
        let line = text(&hostile);
        assert!(line.contains(r#"path="/\" status=200 \\\x0d\x0a\x1b[31m" "#), "{line}");
        assert!(line.contains(r"host=a\x20b\x3d\x22 "), "{line}");
        assert!(line.contains(r#"fwd="\xff\", x" "#), "{line}");
    }

    proptest! {
        #[test]
        fn a_line_is_bounded_printable_ascii(path in ".{0,3000}", fwd in prop::collection::vec(any::<u8>(), 0..99)) {
            let line = line(&Access { path: &path, forwarded_for: &fwd, ..access(None) });
            let line = line.strip_suffix(b"\n").unwrap();
            prop_assert!(line.iter().all(|b| (b' '..=b'~').contains(b)));
            prop_assert!(line.len() < 4 * MAX_FIELD_BYTES + 1000);
        }
    }
}
