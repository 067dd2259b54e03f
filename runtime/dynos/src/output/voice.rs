//! How a dyno and the platform speak in an app's log.

use crate::output::splitter::{LINE_BYTES_MAX, harmless};
use bytes::Bytes;
use jiff::Timestamp;
use lathe_logs::{AppId, Line, Sender, Source};
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

    /// What the dyno wrote: already split and harmless. Leaves `texts` empty.
    pub(crate) fn app(&self, texts: &mut Vec<Vec<u8>>) {
        if !texts.is_empty() {
            let time = Timestamp::now();
            let lines = texts.drain(..).map(|text| self.line(time, Source::App, text));
            self.logs.send_all(&self.app, lines);
        }
    }

    /// What the platform says about it; the app's command may be part of it.
    pub(crate) fn heroku(&self, text: &str) {
        let end = text.floor_char_boundary(LINE_BYTES_MAX);
        let text = harmless(text.as_bytes()[..end].to_vec());
        self.logs.send(self.line(Timestamp::now(), Source::Heroku, text));
    }

    fn line(&self, time: Timestamp, source: Source, text: Vec<u8>) -> Line {
        let (app, process) = (self.app.clone(), self.process.clone());
        Line { app, time, source, process, text: Bytes::from(text) }
    }
}
