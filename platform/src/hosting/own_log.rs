//! The platform's own log as the log of the system app: what `heroku logs -a lathe` shows.

use crate::state::system::PLATFORM;
use bytes::Bytes;
use jiff::Timestamp;
use lathe_logs::{AppId, Line, Sender, Source};
use std::error::Error;
use std::fmt::{Debug, Write};
use std::sync::{Arc, OnceLock};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Who takes the lines: nobody until there is a system app and a hub. One platform a process.
static TAKER: OnceLock<(Sender, AppId)> = OnceLock::new();

/// What the hub says of itself would come back to it.
const HUB: &str = "lathe_logs";

/// From now on the platform's own lines go to this app's log, too.
pub fn connect(sender: Sender, app: AppId) {
    // A second platform in one process, as tests have it, stays without.
    TAKER.set((sender, app)).ok();
}

/// A layer of the subscriber beside the one that writes to stderr. It never waits: the way into the hub
/// is bounded and counts what it drops.
#[derive(Clone, Copy, Debug)]
pub struct OwnLog;

impl<S: Subscriber> Layer<S> for OwnLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let Some((sender, app)) = TAKER.get().filter(|_| !about.target().starts_with(HUB)) else {
            return;
        };
        let mut text = Text(format!("{} {}:", about.level(), about.target()));
        event.record(&mut text);
        sender.send(Line {
            app: app.clone(),
            time: Timestamp::now(),
            source: Source::App,
            process: Arc::from(format!("{PLATFORM}.1")),
            text: Bytes::from(text.0),
        });
    }
}

/// What a process of the platform's, such as `router.1`, has said of itself.
pub fn of_part(process: &str, text: &str) {
    send(Source::App, process, text);
}

/// What is said of a process of the platform's, as of any dyno.
pub fn say(process: &str, text: &str) {
    send(Source::Heroku, process, text);
}

fn send(source: Source, process: &str, text: &str) {
    if let Some((sender, app)) = TAKER.get() {
        sender.send(Line {
            app: app.clone(),
            time: Timestamp::now(),
            source,
            process: Arc::from(process),
            text: Bytes::copy_from_slice(text.as_bytes()),
        });
    }
}

/// The message, and the fields by their names.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        // Memory takes it.
        written.ok();
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let name = field.name();
        write!(self.0, " {name}={}", crate::causes::causes(value)).ok();
    }
}
