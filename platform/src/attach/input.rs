//! Bytes from a client to its dyno's standard input.

use super::traffic::Traffic;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Sender;
use tokio::time::timeout;

const BUFFER_BYTES: usize = 16 * 1024;
/// The Heroku CLI sends this byte, alone and last, when its own input has ended.
const END: u8 = 0x04;
/// How long nothing must follow that byte: in the middle of binary input it is a byte like others.
const END_QUIET: Duration = Duration::from_millis(100);

/// A dyno's standard input. A terminal knows by itself what END means; a pipe is closed.
#[derive(Debug)]
pub(super) struct Input {
    /// None when it is closed.
    wire: Option<Sender>,
    terminal: bool,
    /// What the client sent before the dyno was there.
    early: Vec<u8>,
}

impl Input {
    pub(super) fn new(wire: Sender, terminal: bool, early: Vec<u8>) -> Self {
        Self { wire: Some(wire), terminal, early }
    }

    /// Passes on what the client sends; returns when the client has closed its side.
    /// What the dyno does not want any more is read all the same: only reading shows the end.
    pub(super) async fn feed(mut self, client: &mut (impl AsyncRead + Unpin), traffic: &Traffic) {
        let mut buffer = vec![0; BUFFER_BYTES];
        let early = std::mem::take(&mut self.early);
        let mut held = self.take(&early, false, traffic).await;
        loop {
            let read = if held {
                match timeout(END_QUIET, client.read(&mut buffer)).await {
                    Ok(read) => read,
                    Err(_quiet) => {
                        self.wire = None;
                        held = false;
                        continue;
                    }
                }
            } else {
                client.read(&mut buffer).await
            };
            match read {
                Ok(0) | Err(_) => return,
                Ok(bytes) => held = self.take(&buffer[..bytes], held, traffic).await,
            }
        }
    }

    /// Whether an END is held back now; `held` says whether one was before.
    async fn take(&mut self, bytes: &[u8], held: bool, traffic: &Traffic) -> bool {
        if bytes.is_empty() {
            return held;
        }
        traffic.heard_client();
        if held {
            self.write(&[END]).await;
        }
        let (now, holds) = portion(bytes, self.terminal);
        self.write(now).await;
        traffic.moved();
        holds
    }

    async fn write(&mut self, bytes: &[u8]) {
        if let Some(wire) = &mut self.wire
            && wire.write_all(bytes).await.is_err()
        {
            self.wire = None;
        }
    }
}

/// What of `bytes` goes to the dyno at once, and whether the END behind it is held back.
fn portion(bytes: &[u8], terminal: bool) -> (&[u8], bool) {
    match bytes {
        [first @ .., END] if !terminal => (first, true),
        _ => (bytes, false),
    }
}
