//! Whether a platform answers as it has to, asked from outside.

use crate::config::Config;
use crate::endpoints::Endpoints;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// `HTTP/1.1 200`.
const STATUS_LINE: usize = 12;

/// Asks the API who the owner is, which takes its state, and the router for an app that does not
/// exist. What is wrong is for people.
pub(super) async fn ask(config: &Config) -> Result<(), String> {
    let endpoints = Endpoints::read(config).map_err(|_| "it says nowhere where it listens")?;
    let token = std::fs::read_to_string(config.owner_token());
    let token = token.map_err(|_| "the owner's token is gone")?;
    let bearer = format!("Authorization: Bearer {}\r\n", token.trim());
    match status("the API", endpoints.api_plain, "/account", &bearer).await? {
        // Who asks a lot is told to wait: by somebody who answers.
        200 | 429 => {}
        status => return Err(format!("the API answers {status}")),
    }
    match status("the router", endpoints.router, "/", "").await? {
        ..500 => Ok(()),
        status => Err(format!("the router answers {status}")),
    }
}

async fn status(who: &str, address: SocketAddr, path: &str, header: &str) -> Result<u16, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: nobody.invalid\r\n{header}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut line = [0; STATUS_LINE];
        stream.read_exact(&mut line).await?;
        Ok::<_, io::Error>(line)
    };
    match timeout(ANSWER_TIMEOUT, exchange).await {
        Err(_) => Err(format!("{who} gives no answer in {} s", ANSWER_TIMEOUT.as_secs())),
        Ok(Err(error)) => Err(format!("{who} gives no answer: {error}")),
        Ok(Ok(line)) => {
            let line = String::from_utf8_lossy(&line);
            let number = line.strip_prefix("HTTP/1.1 ").and_then(|number| number.parse().ok());
            number.ok_or_else(|| format!("{who} answers {:?}", line.escape_debug().to_string()))
        }
    }
}
