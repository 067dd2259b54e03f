//! How a dyno and the platform speak in an app's log.

use bytes::Bytes;
use jiff::Timestamp;
use lathe_logs::{AppId, LINE_BYTES_MAX, Line, Sender, Source};
use std::sync::Arc;

/// One process of one app, with the way into the log.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    app: AppId,
    process: Arc<str>,
    logs: Sender,
}

impl Voice {
    pub(crate) fn new(app: &AppId, process: &str, logs: &Sender) -> Self {
        Self { app: app.clone(), process: process.into(), logs: logs.clone() }
    }

    /// What the dyno wrote: whole lines, as they are.
    pub(crate) fn app(&self, lines: Bytes) {
        self.say(Source::App, lines);
    }

    /// What the platform says about it; the app's command may be part of it.
    pub(crate) fn heroku(&self, text: &str) {
        let end = text.floor_char_boundary(LINE_BYTES_MAX);
        // One line, whatever is in it.
        let line: String = text[..end].chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
        self.say(Source::Heroku, line.into());
    }

    fn say(&self, source: Source, text: Bytes) {
        let (app, process) = (self.app.clone(), Arc::clone(&self.process));
        self.logs.send(Line { app, time: Timestamp::now(), source, process, text });
    }
}
