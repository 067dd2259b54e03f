//! The form people read: `2026-01-01T00:00:00.123456+00:00 app[web.1]: message`.

use crate::Line;
use jiff::Timestamp;
use std::fmt::Write;

/// One line as `heroku logs` prints it, without a line end (Heroku Dev Center, Logging: log format).
pub fn human(line: &Line) -> String {
    let time = micros(line.time);
    let (source, process) = (line.source.as_str(), &line.process);
    format!("{time} {source}[{process}]: {}", String::from_utf8_lossy(&line.text))
}

/// RFC 3339 with microseconds, in UTC written as `+00:00`.
pub(crate) fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

/// [`micros`] for many lines, most of which are of the same second as the one before.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    second: Option<i64>,
    text: String,
}

impl Stamps {
    pub(crate) fn micros(&mut self, time: Timestamp) -> &str {
        const DATE_AND_TIME: usize = "2026-01-01T00:00:00.".len();
        let fraction = time.subsec_microsecond();
        if self.second == Some(time.as_second()) && fraction >= 0 {
            self.text.truncate(DATE_AND_TIME);
            // Writing to a string does not fail.
            let _written = write!(self.text, "{fraction:06}+00:00");
        } else {
            self.text = micros(time);
            self.second = Some(time.as_second()).filter(|second| *second >= 0);
        }
        &self.text
    }
}

/// RFC 3339 in whole seconds, in UTC written as `+00:00`.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppId, Source};
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn stamps_are_what_micros_says() {
        let mut stamps = Stamps::default();
        for micro in [0, 1, 999_999, 1_000_000, 1_000_001, 1_700_000_000_123_456, -1, -1_000_001] {
            let time = Timestamp::from_microsecond(micro).unwrap();
            for _ in 0..2 {
                assert_eq!(stamps.micros(time), micros(time));
            }
        }
    }

    #[test]
    fn human_form() {
        let line = |time: &str, source, process: &str, text: &'static str| Line {
            app: AppId::new("a"),
            time: time.parse().unwrap(),
            source,
            process: Arc::from(process),
            text: Bytes::from_static(text.as_bytes()),
        };
        let cases = [
            (
                line("2026-01-01T00:00:00.123456789Z", Source::App, "web.1", "message"),
                "2026-01-01T00:00:00.123456+00:00 app[web.1]: message",
            ),
            (
                line("2026-01-01T02:00:00+02:00", Source::Heroku, "router", "at=info"),
                "2026-01-01T00:00:00.000000+00:00 heroku[router]: at=info",
            ),
            (
                line("2026-01-01T00:00:00.5Z", Source::App, "run.1234", ""),
                "2026-01-01T00:00:00.500000+00:00 app[run.1234]: ",
            ),
        ];
        for (line, want) in cases {
            assert_eq!(human(&line), want);
        }
    }
}
