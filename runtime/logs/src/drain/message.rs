//! Lines as the syslog messages that drains carry, octet-counted (RFC 6587, section 3.4.1).

use crate::human::{self, Stamps};
use crate::{Entry, Line, Source};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// How a drain's receiver wants its messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wire {
    /// `<PRI>1 TIME host APP PROCID - MSG`: RFC 5424 without structured data, as heroku/logplex
    /// posts it (Heroku Dev Center, Log Drains: HTTPS drains).
    Http,
    /// `<PRI>1 TIME d.token APP PROCID - - MSG`: RFC 5424, the drain's token as host name.
    Syslog { token: String },
}

impl Wire {
    /// Frames are filled up to this many bytes, and hold at least one message.
    pub(super) fn frame_bytes(&self) -> usize {
        match self {
            Self::Http => 102_400,
            Self::Syslog { .. } => 4096,
        }
    }

    /// One line, counted and ended by a line feed.
    pub(super) fn line(&self, line: &Line, stamps: &mut Stamps) -> Vec<u8> {
        let (source, process) = (line.source.as_str(), &line.process);
        let mut message = self.head(priority(line), stamps.micros(line.time), source, process);
        message.extend_from_slice(&line.text);
        message.push(b'\n');
        counted(&message)
    }

    /// Heroku Dev Center, Error Codes: L10. Over HTTP it ends without a line feed, as there.
    pub(super) fn overflow(&self, lines: u64, since: Timestamp, now: Timestamp) -> Vec<u8> {
        let (now, since) = (human::seconds(now), human::seconds(since));
        let text =
            format!("Error L10 (output buffer overflow): {lines} messages dropped since {since}.");
        let mut message = self.head(172, &now, "heroku", "logplex");
        message.extend_from_slice(text.as_bytes());
        if matches!(self, Self::Syslog { .. }) {
            message.push(b'\n');
        }
        counted(&message)
    }

    fn head(&self, priority: u8, time: &str, app: &str, process: &str) -> Vec<u8> {
        match self {
            Self::Http => format!("<{priority}>1 {time} host {app} {process} - "),
            Self::Syslog { token } => {
                format!("<{priority}>1 {time} {token} {app} {process} - - ")
            }
        }
        .into_bytes()
    }
}

fn counted(message: &[u8]) -> Vec<u8> {
    let mut counted = format!("{} ", message.len()).into_bytes();
    counted.extend_from_slice(message);
    counted
}

/// Facility and severity as Heroku sends them: router local3.info, dyno states syslog.notice,
/// logplex local5.warning, everything an app writes local7.info.
fn priority(line: &Line) -> u8 {
    match (line.source, &*line.process) {
        (Source::Heroku, "router") => 158,
        (Source::Heroku, "logplex") => 172,
        (Source::Heroku, _) => 45,
        (Source::App, _) => 190,
    }
}

/// 32 upper-case hexadecimal digits, the same whenever the same lines are sent to the same drain,
/// so that a receiver can tell a retry. To receivers it is opaque; nothing compares it with an MD5.
pub(super) fn frame_id(token: &str, entries: &[Entry]) -> String {
    let mut hash = Sha256::new();
    hash.update(token);
    for entry in entries {
        hash.update(entry.cursor.0.to_be_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    format!("{:032X}", u128::from_be_bytes(*digest[..].first_chunk().unwrap_or(&[0; 16])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppId, Cursor};
    use bytes::Bytes;
    use std::sync::Arc;

    fn line(source: Source, process: &str, text: &str) -> Line {
        Line {
            app: AppId::new("a"),
            time: "2012-10-11T03:47:20.123456Z".parse().unwrap(),
            source,
            process: Arc::from(process),
            text: Bytes::from(text.to_owned()),
        }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn logplex_vectors() {
        // heroku/logplex, doc/README.http_drains.md: ten of these are a body of 730 bytes.
        let mut message = Wire::Http.head(174, "2012-07-22T00:06:26+00:00", "erlang", "console");
        message.extend_from_slice(b"Hi from erlang\n");
        let message = text(counted(&message));
        assert_eq!(
            message,
            "70 <174>1 2012-07-22T00:06:26+00:00 host erlang console - Hi from erlang\n"
        );
        assert_eq!(message.len() * 10, 730);

        let at = "2013-04-17T19:04:46Z".parse().unwrap();
        assert_eq!(
            text(Wire::Http.overflow(500, at, at)),
            "144 <172>1 2013-04-17T19:04:46+00:00 host heroku logplex - Error L10 (output buffer \
             overflow): 500 messages dropped since 2013-04-17T19:04:46+00:00."
        );
    }

    #[test]
    fn lines_of_both_wires() {
        let syslog = Wire::Syslog { token: "d.9173".to_owned() };
        assert_eq!(
            text(
                Wire::Http.line(&line(Source::Heroku, "router", "at=info"), &mut Stamps::default())
            ),
            "69 <158>1 2012-10-11T03:47:20.123456+00:00 host heroku router - at=info\n"
        );
        assert_eq!(
            text(syslog.line(&line(Source::App, "web.1", "é"), &mut Stamps::default())),
            "64 <190>1 2012-10-11T03:47:20.123456+00:00 d.9173 app web.1 - - é\n"
        );
        assert_eq!(
            text(
                syslog
                    .line(&line(Source::Heroku, "web.1", "State changed"), &mut Stamps::default())
            ),
            "77 <45>1 2012-10-11T03:47:20.123456+00:00 d.9173 heroku web.1 - - State changed\n"
        );
        for wire in [Wire::Http, syslog] {
            let message = text(
                wire.line(&line(Source::App, "web.1", "<13>1 99 spoof é"), &mut Stamps::default()),
            );
            let (count, body) = message.split_once(' ').unwrap();
            assert_eq!(count.parse::<usize>().unwrap(), body.len());
        }
    }

    #[test]
    fn a_frame_id_is_the_frame_s_own() {
        let entry =
            |at| Entry { cursor: Cursor(at), line: Arc::new(line(Source::App, "web.1", "")) };
        let id = frame_id("d.1", &[entry(1), entry(2)]);
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
        );
        assert_eq!(id, frame_id("d.1", &[entry(1), entry(2)]));
        assert_ne!(id, frame_id("d.2", &[entry(1), entry(2)]));
        assert_ne!(id, frame_id("d.1", &[entry(1)]));
    }
}
