//! Entries as server-sent events, the form the Heroku CLI reads log sessions in.

use crate::{Entry, human};

/// A comment that keeps proxies from closing a silent session (HTML Living Standard, 9.2.6).
pub const KEEPALIVE: &str = ": keepalive\n\n";

/// `id: <cursor>\ndata: <human form>\n\n`. The id comes back as `Last-Event-ID` after a break.
pub fn event(entry: &Entry) -> String {
    format!("id: {}\ndata: {}\n\n", entry.cursor, human(&entry.line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppId, Cursor, Line, Source};
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn an_event_carries_cursor_and_line() {
        let line = Line {
            app: AppId::new("a"),
            time: "2026-01-01T00:00:00.123456Z".parse().unwrap(),
            source: Source::App,
            process: Arc::from("web.1"),
            text: Bytes::from_static(b"message"),
        };
        assert_eq!(
            event(&Entry { cursor: Cursor(42), line }),
            "id: 42\ndata: 2026-01-01T00:00:00.123456+00:00 app[web.1]: message\n\n"
        );
    }
}
