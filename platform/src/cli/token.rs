//! `lathe token`: the operator gives people access, sees who has it, and ends it.

use super::CliError;
use super::ask::text;
use super::client::{Client, ClientError};
use super::env::Access;
use super::runtime;
use super::say::say;
use crate::config::Config;
use clap::Args;
use http::Method;
use serde_json::{Value, json};
use std::fmt::Write;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Whose token, and what about it.
#[derive(Debug, Args)]
pub(super) struct Token {
    /// The person's e-mail address; who is new gets an account with it
    email: String,
    /// What it is for, as the list shows it
    #[arg(long, default_value = "lathe token")]
    description: String,
    /// Let it end after so many days
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: Option<u64>,
    /// List the person's tokens instead
    #[arg(long, conflicts_with = "revoke")]
    list: bool,
    /// End one of them instead
    #[arg(long, value_name = "ID")]
    revoke: Option<String>,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the platform does not do it")]
    Client(#[from] ClientError),
}

impl TokenError {
    pub(super) fn remedy(&self) -> String {
        let Self::Client(error) = self;
        match error {
            ClientError::Refused { status: 404, .. } => {
                "`lathe token EMAIL --list` shows what there is.".into()
            }
            ClientError::Refused { .. } => "Mend what the answer says.".into(),
            _ => "See that the platform runs: `lathe up`.".into(),
        }
    }
}

/// Asks the running platform, as its owner: it is the only writer of its state.
pub(super) fn token(config: &Config, what: &Token) -> Result<(), CliError> {
    let access = Access::of(config)?;
    let client = Client::of(&access);
    let client = client.map_err(TokenError::from)?;
    let done = runtime()?.block_on(async {
        match what {
            Token { revoke: Some(id), .. } => revoke(&client, &what.email, id).await,
            Token { list: true, .. } => list(&client, &what.email).await,
            _ => issue(&client, what).await,
        }
    });
    Ok(done.map_err(TokenError::from)?)
}

/// The token alone on stdout, so that it can go straight to where it belongs.
async fn issue(client: &Client, what: &Token) -> Result<(), ClientError> {
    let wish = json!({
        "user": what.email,
        "description": what.description,
        "expires_in": what.days.map(|days| days * DAY_SECONDS),
    });
    let made = client.post("/oauth/authorizations", &wish).await?;
    eprintln!("A token of {}, shown this once; it is the password for git too:", what.email);
    say!("{}", text(&made["access_token"]["token"]));
    Ok(())
}

async fn list(client: &Client, email: &str) -> Result<(), ClientError> {
    let all = client.call(Method::GET, &path(email), &Value::Null).await?;
    for token in all.as_array().into_iter().flatten() {
        let until = match token["access_token"]["expires_in"].as_i64() {
            Some(seconds) if seconds <= 0 => "over".to_owned(),
            Some(seconds) => format!("{} days left", seconds / DAY_SECONDS.cast_signed()),
            None => "does not end".to_owned(),
        };
        let (id, made) = (text(&token["id"]), text(&token["created_at"]));
        say!("{id}  made {made}  {until}  {}", text(&token["description"]));
    }
    Ok(())
}

async fn revoke(client: &Client, email: &str, id: &str) -> Result<(), ClientError> {
    let path = format!("{}/{}", path(email), encoded(id));
    client.call(Method::DELETE, &path, &Value::Null).await?;
    eprintln!("Ended.");
    Ok(())
}

fn path(email: &str) -> String {
    format!("/users/{}/authorizations", encoded(email))
}

/// One segment of a path, whatever is in it (RFC 3986, section 2.1).
fn encoded(segment: &str) -> String {
    segment.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").ok();
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_is_one_segment() {
        assert_eq!(path("a+b@c.example"), "/users/a%2Bb@c.example/authorizations");
        assert_eq!(encoded("../x?y#\u{e4}"), "..%2Fx%3Fy%23%C3%A4");
    }
}
