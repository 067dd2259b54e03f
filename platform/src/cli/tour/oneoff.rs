//! Runs a command in a one-off dyno and meets it at the rendezvous, as the Heroku CLI does.

use crate::cli::client::{Client, ClientError};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// By this mark the Heroku CLI finds the exit status in the output (`heroku run --exit-code`).
const MARK: &str = "\u{FFFF} heroku-command-exit-status: ";
const GREETING: &[u8] = b"rendezvous\r\n";
const TIMEOUT: Duration = Duration::from_mins(1);
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// Why there was no meeting.
#[derive(Debug, thiserror::Error)]
pub enum RendezvousError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the dyno has no rendezvous address")]
    Address,
    #[error("the connection to the dyno broke")]
    Broken(#[source] io::Error),
    #[error("the dyno does not greet")]
    Greeting,
    #[error("the dyno has not ended within {} seconds", TIMEOUT.as_secs())]
    Slow,
}

/// The command's output and, if it ended in good order, its exit status.
pub(super) async fn run(
    client: &Client,
    app: &str,
    command: &str,
) -> Result<(String, Option<u8>), RendezvousError> {
    let request = serde_json::json!({
        "attach": true,
        "command": format!("{command} ; echo \"{MARK}$?\""),
        "env": { "TERM": "dumb" },
    });
    let dyno = client.post(&format!("/apps/{app}/dynos"), &request).await?;
    // rendezvous://HOST:PORT/TOKEN
    let url = dyno["attach_url"].as_str().unwrap_or_default();
    let token = url.splitn(4, '/').nth(3).ok_or(RendezvousError::Address)?;
    let met = tokio::time::timeout(TIMEOUT, meet(client, token)).await;
    Ok(split(&met.map_err(|_| RendezvousError::Slow)??))
}

async fn meet(client: &Client, token: &str) -> Result<String, RendezvousError> {
    let mut stream = client.connect(client.endpoints().rendezvous).await?;
    let hello = format!("{token}\r\n");
    stream.write_all(hello.as_bytes()).await.map_err(RendezvousError::Broken)?;
    stream.flush().await.map_err(RendezvousError::Broken)?;
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting).await.map_err(RendezvousError::Broken)?;
    if greeting != GREETING {
        return Err(RendezvousError::Greeting);
    }
    let mut output = Vec::new();
    let read = stream.take(OUTPUT_BYTES_MAX).read_to_end(&mut output).await;
    read.map_err(RendezvousError::Broken)?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// What the command wrote, and the status behind the mark.
fn split(output: &str) -> (String, Option<u8>) {
    match output.split_once(MARK) {
        Some((before, status)) => (before.to_owned(), status.trim().parse().ok()),
        None => (output.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_behind_the_mark() {
        assert_eq!(split(&format!("hi\r\n{MARK}42\r\n")), ("hi\r\n".into(), Some(42)));
        assert_eq!(split("killed\r\n"), ("killed\r\n".into(), None));
    }
}
