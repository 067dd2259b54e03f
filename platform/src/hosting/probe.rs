//! Whether a platform answers as it has to, asked from outside.

use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::state::system;
use serde::Deserialize;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Of an answer; of that of a platform that is well a small part.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// A process of the platform, as its API lists it.
#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    process_type: String,
    state: String,
    release: Serves,
}

#[derive(Debug, Deserialize)]
struct Serves {
    version: u32,
}

/// Asks the API who the owner is, which takes its state, and the router for an app that does not
/// exist. What is wrong is for people.
pub(super) async fn ask(config: &Config) -> Result<(), String> {
    let at = Place::of(config)?;
    at.api("/account").await?;
    match get("the router", at.endpoints.router, "/", "").await?.status {
        ..500 => Ok(()),
        status => Err(format!("the router answers {status}")),
    }
}

/// Whether the API answers that it cannot do what it should, as one without its state does.
pub(super) async fn is_hindered(config: &Config) -> bool {
    let Ok(at) = Place::of(config) else { return false };
    let answer = get("the API", at.endpoints.api_plain, "/account", &at.bearer).await;
    answer.is_ok_and(|answer| answer.status != 200)
}

/// Asks whether the router that serves is that of this release of the system app. One that is a part of
/// the platform's process has been asked already.
pub(super) async fn ask_router(config: &Config, version: u32) -> Result<(), String> {
    let answer = Place::of(config)?.api(&format!("/apps/{}/dynos", system::NAME)).await?;
    if answer.status != 200 {
        return Ok(());
    }
    let parts: Vec<Part> = serde_json::from_str(&answer.body)
        .map_err(|_| "the API does not say what there is of the platform")?;
    let mut routers = parts.iter().filter(|part| part.process_type == system::ROUTER).peekable();
    let serves = |part: &Part| part.state == "up" && part.release.version == version;
    if routers.peek().is_none() || routers.any(serves) {
        Ok(())
    } else {
        Err("its router does not serve".into())
    }
}

/// Where a platform is, and by which right it is asked.
struct Place {
    endpoints: Endpoints,
    bearer: String,
}

impl Place {
    fn of(config: &Config) -> Result<Self, String> {
        let endpoints = Endpoints::read(config).map_err(|_| "it says nowhere where it listens")?;
        let token = std::fs::read_to_string(config.owner_token());
        let token = token.map_err(|_| "the owner's token is gone")?;
        let bearer = format!("Authorization: Bearer {}\r\n", token.trim());
        Ok(Self { endpoints, bearer })
    }

    async fn api(&self, path: &str) -> Result<Answer, String> {
        let answer = get("the API", self.endpoints.api_plain, path, &self.bearer).await?;
        match answer.status {
            // Who asks a lot is told to wait: by somebody who answers.
            200 | 429 => Ok(answer),
            status => Err(format!("the API answers {status}")),
        }
    }
}

struct Answer {
    status: u16,
    body: String,
}

async fn get(who: &str, address: SocketAddr, path: &str, header: &str) -> Result<Answer, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: nobody.invalid\r\n{header}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    match timeout(ANSWER_TIMEOUT, exchange).await {
        Err(_) => Err(format!("{who} gives no answer in {} s", ANSWER_TIMEOUT.as_secs())),
        Ok(Err(error)) => Err(format!("{who} gives no answer: {error}")),
        Ok(Ok(text)) => parse(&text).ok_or_else(|| {
            let line: String = text.lines().next().unwrap_or_default().chars().take(80).collect();
            format!("{who} answers {:?}", line.escape_debug().to_string())
        }),
    }
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}
