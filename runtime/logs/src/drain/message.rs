//! Lines as the syslog messages that drains carry, octet-counted (RFC 6587, section 3.4.1).

use crate::Source;
use crate::block::Block;
use crate::human::{self, Stamps};
use crate::shelf::Shelf;
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
    fn frame_bytes(&self) -> usize {
        match self {
            Self::Http => 102_400,
            // A stream has no frames: as much as is worth a write.
            Self::Syslog { .. } => 65_536,
        }
    }

    /// Appends the block's lines to a frame, each counted and ended by a line feed, as far as there
    /// is room, and in any case `at_least` so many; how many that were.
    pub(super) fn append(
        &self,
        block: &Block,
        at_least: usize,
        frame: &mut Vec<u8>,
        stamps: &mut Stamps,
    ) -> usize {
        let (source, process) = (block.source.as_str(), &block.process);
        let head = self.head(priority(block), stamps.micros(block.time), source, process);
        let mut number = itoa::Buffer::new();
        let mut lines = 0;
        for text in block.texts() {
            let count = number.format(head.len() + text.len());
            let length = count.len() + 1 + head.len() + text.len();
            if lines >= at_least && frame.len() + length > self.frame_bytes() {
                break;
            }
            for part in [count.as_bytes(), b" ", head.as_bytes(), text] {
                frame.extend_from_slice(part);
            }
            lines += 1;
        }
        lines
    }

    /// Heroku Dev Center, Error Codes: L10. Over HTTP it ends without a line feed, as there.
    pub(super) fn overflow(&self, lines: u64, since: Timestamp, now: Timestamp) -> Vec<u8> {
        let (now, since) = (human::seconds(now), human::seconds(since));
        let head = self.head(172, &now, "heroku", "logplex");
        let end = if matches!(self, Self::Syslog { .. }) { "\n" } else { "" };
        let message = format!(
            "{head}Error L10 (output buffer overflow): {lines} messages dropped since {since}.{end}"
        );
        format!("{} {message}", message.len()).into_bytes()
    }

    fn head(&self, priority: u8, time: &str, app: &str, process: &str) -> String {
        match self {
            Self::Http => format!("<{priority}>1 {time} host {app} {process} - "),
            Self::Syslog { token } => {
                format!("<{priority}>1 {time} {token} {app} {process} - - ")
            }
        }
    }
}

/// Facility and severity as Heroku sends them: router local3.info, dyno states syslog.notice,
/// logplex local5.warning, everything an app writes local7.info.
fn priority(block: &Block) -> u8 {
    match (block.source, &*block.process) {
        (Source::Heroku, "router") => 158,
        (Source::Heroku, "logplex") => 172,
        (Source::Heroku, _) => 45,
        (Source::App, _) => 190,
    }
}

/// 32 upper-case hexadecimal digits, the same whenever the same lines are sent to the same drain,
/// so that a receiver can tell a retry. To receivers it is opaque; nothing compares it with an MD5.
///
/// A drain's lines are all of its app's from some place on: the first, the last and their number
/// say which they are.
pub(super) fn frame_id(token: &str, lines: &Shelf) -> String {
    let mut hash = Sha256::new();
    hash.update(token);
    let ends = [lines.first().map(|block| block.first), lines.last().map(Block::last)];
    for place in ends.into_iter().flatten() {
        hash.update(place.0.to_be_bytes());
    }
    hash.update((lines.lines() as u64).to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    format!("{:032X}", u128::from_be_bytes(*digest[..].first_chunk().unwrap_or(&[0; 16])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::tests::block;
    use std::sync::Arc;

    fn said(source: Source, process: &str, texts: &[&str]) -> Block {
        let mut said = block(1, texts);
        said.time = "2012-10-11T03:47:20.123456Z".parse().unwrap();
        (said.source, said.process) = (source, Arc::from(process));
        said
    }

    fn framed(wire: &Wire, block: &Block) -> String {
        let mut frame = Vec::new();
        let lines = wire.append(block, 1, &mut frame, &mut Stamps::default());
        assert_eq!(lines, block.lines());
        String::from_utf8(frame).unwrap()
    }

    #[test]
    fn logplex_vectors() {
        // heroku/logplex, doc/README.http_drains.md: ten of these are a body of 730 bytes.
        let head = Wire::Http.head(174, "2012-07-22T00:06:26+00:00", "erlang", "console");
        assert_eq!(
            format!("{head}Hi from erlang\n"),
            "<174>1 2012-07-22T00:06:26+00:00 host erlang console - Hi from erlang\n"
        );
        assert_eq!((head.len() + "Hi from erlang\n".len() + "70 ".len()) * 10, 730);

        let at = "2013-04-17T19:04:46Z".parse().unwrap();
        assert_eq!(
            String::from_utf8(Wire::Http.overflow(500, at, at)).unwrap(),
            "144 <172>1 2013-04-17T19:04:46+00:00 host heroku logplex - Error L10 (output buffer \
             overflow): 500 messages dropped since 2013-04-17T19:04:46+00:00."
        );
    }

    #[test]
    fn lines_of_both_wires() {
        let syslog = Wire::Syslog { token: "d.9173".to_owned() };
        assert_eq!(
            framed(&Wire::Http, &said(Source::Heroku, "router", &["at=info"])),
            "69 <158>1 2012-10-11T03:47:20.123456+00:00 host heroku router - at=info\n"
        );
        assert_eq!(
            framed(&syslog, &said(Source::App, "web.1", &["é", ""])),
            "64 <190>1 2012-10-11T03:47:20.123456+00:00 d.9173 app web.1 - - é\n\
             62 <190>1 2012-10-11T03:47:20.123456+00:00 d.9173 app web.1 - - \n"
        );
        assert_eq!(
            framed(&syslog, &said(Source::Heroku, "web.1", &["State changed"])),
            "77 <45>1 2012-10-11T03:47:20.123456+00:00 d.9173 heroku web.1 - - State changed\n"
        );
        for wire in [Wire::Http, syslog] {
            let message = framed(&wire, &said(Source::App, "web.1", &["<13>1 99 spoof é"]));
            let (count, body) = message.split_once(' ').unwrap();
            assert_eq!(count.parse::<usize>().unwrap(), body.len());
        }
    }

    #[test]
    fn a_frame_id_is_the_frame_s_own() {
        let lines = |first, texts: &[&str]| [block(first, texts)].into_iter().collect::<Shelf>();
        let id = frame_id("d.1", &lines(1, &["", ""]));
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
        );
        assert_eq!(id, frame_id("d.1", &[block(1, &[""]), block(2, &[""])].into_iter().collect()));
        assert_ne!(id, frame_id("d.2", &lines(1, &["", ""])));
        assert_ne!(id, frame_id("d.1", &lines(1, &[""])));
        assert_ne!(id, frame_id("d.1", &lines(2, &["", ""])));
    }
}
