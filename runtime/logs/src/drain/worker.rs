//! One drain's loop: frame, send, settle, wait.

use super::connect::{ConnectError, Connector};
use super::http::{self, PostError};
use super::message::Wire;
use super::outbox::{Frame, Outcome};
use super::queue::Queue;
use super::syslog::{self, WriteError};
use super::{Drain, Target, backoff};
use crate::{Line, Source};
use bytes::Bytes;
use jiff::Timestamp;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// A drain that fails is reported this often.
const REPORT_EVERY: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(super) struct Worker {
    drain: Drain,
    shown: String,
    queue: Arc<Queue>,
    connector: Arc<Connector>,
    client: Client,
    /// Where the app is told what is wrong with its drain.
    notices: mpsc::Sender<Line>,
    /// When the operator was told last, and when the app.
    reported: Option<Instant>,
    told: Option<Instant>,
}

#[derive(Debug)]
enum Client {
    Http(http::Client),
    Syslog(syslog::Client),
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum SendError {
    Post(#[from] PostError),
    Write(#[from] WriteError),
}

/// How messages to this target are written.
pub(super) fn wire(drain: &Drain, target: &Target) -> Wire {
    if target.scheme.is_http() { Wire::Http } else { Wire::Syslog { token: drain.token.clone() } }
}

impl Worker {
    pub(super) fn new(
        drain: Drain,
        target: Target,
        queue: Arc<Queue>,
        connector: Connector,
        notices: mpsc::Sender<Line>,
    ) -> Self {
        let (shown, connector) = (target.to_string(), Arc::new(connector));
        let client = if target.scheme.is_http() {
            let token = drain.token.clone();
            Client::Http(http::Client::new(target, token, Arc::clone(&connector)))
        } else {
            Client::Syslog(syslog::Client::new(target, Arc::clone(&connector)))
        };
        Self { drain, shown, queue, connector, client, notices, reported: None, told: None }
    }

    /// Never returns; the crew drops it.
    pub(super) async fn run(mut self) {
        loop {
            let frame = self.frame().await;
            let (outcome, error) = self.client.send(&frame).await;
            let failures = self.queue.settle(&frame, outcome);
            if let Some(error) = error {
                self.report(&error, outcome);
            }
            if failures > 0 {
                sleep(self.pause(failures)).await;
            }
        }
    }

    /// The next frame; a connection that ends or is not needed for long is given up meanwhile.
    async fn frame(&mut self) -> Arc<Frame> {
        let idle = self.connector.policy().idle;
        loop {
            tokio::select! {
                biased;
                () = self.client.hung_up() => {}
                frame = self.queue.frame() => return frame,
                () = sleep(idle) => self.client.close(),
            }
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        match self.client {
            Client::Http(_) => backoff::http(failures, getrandom::u64().unwrap_or(0)),
            Client::Syslog(_) => backoff::syslog(failures, self.connector.policy().reconnect),
        }
    }

    /// Tells the operator that a drain fails, and the app if its owner can mend it; not each time,
    /// because what the app is told goes to its drains again.
    fn report(&mut self, error: &SendError, outcome: Outcome) {
        let due = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
        if due(self.reported) {
            self.reported = Some(Instant::now());
            tracing::warn!(
                drain.id = %self.drain.id, drain.url = %self.shown, ?outcome,
                error = error as &dyn Error, "drain fails"
            );
        }
        // A failure of another kind before it says nothing of what its owner can mend.
        if due(self.told)
            && let Some(text) = error.connect().and_then(|error| notice(error, &self.shown))
        {
            self.told = Some(Instant::now());
            // When nobody takes notices, the warning above is all there is.
            drop(self.notices.try_send(line(&self.drain, text)));
        }
    }
}

impl Client {
    async fn send(&mut self, frame: &Frame) -> (Outcome, Option<SendError>) {
        match self {
            Self::Http(client) => {
                let (outcome, error) = client.send(frame).await;
                (outcome, error.map(SendError::from))
            }
            Self::Syslog(client) => {
                let (outcome, error) = client.send(frame).await;
                (outcome, error.map(SendError::from))
            }
        }
    }

    async fn hung_up(&mut self) {
        match self {
            // hyper watches its connections itself.
            Self::Http(_) => std::future::pending().await,
            Self::Syslog(client) => client.hung_up().await,
        }
    }

    fn close(&mut self) {
        match self {
            Self::Http(client) => client.close(),
            Self::Syslog(client) => client.close(),
        }
    }
}

impl SendError {
    fn connect(&self) -> Option<&ConnectError> {
        match self {
            Self::Post(PostError::Connect(error)) | Self::Write(WriteError::Connect(error)) => {
                Some(error)
            }
            _ => None,
        }
    }
}

/// What the owner of the drain can mend, in words for the app's log.
fn notice(error: &ConnectError, url: &str) -> Option<String> {
    if let Some(why) = error.bad_certificate() {
        // Heroku Dev Center, Error Codes: L14.
        return Some(format!("Error L14 (certificate validation): error=\"{why}\" uri=\"{url}\""));
    }
    match error {
        ConnectError::Refused { .. } => Some(format!(
            "Drain {url} is not connected: {error}. Use a server with a public address."
        )),
        _ => None,
    }
}

/// A line of the platform about a drain, in its app's log.
pub(super) fn line(drain: &Drain, text: String) -> Line {
    Line {
        app: drain.app.clone(),
        time: Timestamp::now(),
        source: Source::Heroku,
        process: Arc::from("logplex"),
        text: Bytes::from(text),
    }
}
