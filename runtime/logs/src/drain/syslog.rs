//! Frames over a plain TCP or TLS stream (RFC 6587, RFC 5425).

use super::Target;
use super::connect::{ConnectError, Connector, Stream};
use super::outbox::{Frame, Outcome};
use std::fmt;
use std::future::pending;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("no connection to the drain")]
    Connect(#[source] ConnectError),
    #[error("the drain took nothing within the time limit")]
    Timeout,
    #[error("the drain's connection broke")]
    Write(#[source] io::Error),
}

pub(super) struct Client {
    target: Target,
    connector: Arc<Connector>,
    connection: Option<(Box<dyn Stream>, Instant)>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.target)
    }
}

impl Client {
    pub(super) fn new(target: Target, connector: Arc<Connector>) -> Self {
        Self { target, connector, connection: None }
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// Returns when the receiver hangs up, and closes; never, when there is no connection. Writing to
    /// a receiver that has hung up would seem to succeed once.
    pub(super) async fn hung_up(&mut self) {
        let Some((stream, _)) = &mut self.connection else { return pending().await };
        // What a receiver says means nothing here.
        while stream.read(&mut [0; 256]).await.is_ok_and(|length| length > 0) {}
        self.close();
    }

    /// Delivered means handed to the kernel: syslog has no answer.
    pub(super) async fn send(&mut self, frame: &Frame) -> (Outcome, Option<WriteError>) {
        // Taken out, so that whatever goes wrong the connection is not used again.
        let (mut stream, opened) = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => return (Outcome::Unreachable, Some(WriteError::Connect(error))),
        };
        let write = async {
            stream.write_all(&frame.body).await?;
            stream.flush().await
        };
        match timeout(self.connector.policy().write_timeout, write).await {
            Ok(Ok(())) => {
                self.connection = Some((stream, opened));
                (Outcome::Delivered, None)
            }
            Ok(Err(error)) => (Outcome::Failed, Some(WriteError::Write(error))),
            Err(_) => (Outcome::Failed, Some(WriteError::Timeout)),
        }
    }

    async fn connection(&mut self) -> Result<(Box<dyn Stream>, Instant), ConnectError> {
        if let Some((stream, opened)) = self.connection.take()
            && opened.elapsed() < self.connector.policy().age
        {
            return Ok((stream, opened));
        }
        Ok((self.connector.connect(&self.target).await?, Instant::now()))
    }
}
