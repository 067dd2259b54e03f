//! `lathe releases:watch`: the way of a release, told while it goes it.

use super::ask::text;
use super::client::{Client, ClientError};
use super::env::Access;
use super::say::say;
use super::{CliError, runtime};
use crate::config::Config;
use clap::Args;
use http::Method;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Less than the requests that one caller may make.
const PAUSE: Duration = Duration::from_secs(1);

/// Which release.
#[derive(Debug, Args)]
pub(super) struct ReleaseWatch {
    app: String,
    /// Version, as in v3 [default: the newest]
    release: Option<String>,
}

/// Tells each step until the release serves or does not: exit status 0 or 1.
pub(super) fn watch(config: &Config, what: &ReleaseWatch) -> Result<ExitCode, CliError> {
    let access = Access::of(config)?;
    let client = Client::of(&access)?;
    Ok(runtime()?.block_on(follow(&client, what))?)
}

async fn follow(client: &Client, what: &ReleaseWatch) -> Result<ExitCode, ClientError> {
    let all = format!("/apps/{}/releases", what.app);
    let version = what.release.as_deref().unwrap_or("newest");
    let newest = client.call(Method::GET, &format!("{all}/{version}"), &Value::Null).await?;
    let version = newest["version"].to_string();
    let (mut told, mut dynos_told) = (0, String::new());
    loop {
        let release = client.call(Method::GET, &format!("{all}/{version}"), &Value::Null).await?;
        let pipeline = &release["pipeline"];
        let steps = pipeline["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        for step in steps.iter().skip(told) {
            say!("{} v{} {}", text(&step["at"]), release["version"], text(&step["text"]));
        }
        told = steps.len().max(told);
        let dynos = in_words(&pipeline["dynos"]);
        if dynos != dynos_told && !dynos.is_empty() {
            say!("    {dynos}");
        }
        dynos_told = dynos;
        match release["status"].as_str() {
            Some("pending") => tokio::time::sleep(PAUSE).await,
            Some("succeeded") => return Ok(ExitCode::SUCCESS),
            _ => return Ok(ExitCode::FAILURE),
        }
    }
}

/// `web.1 up, web.2 starting`.
fn in_words(dynos: &Value) -> String {
    let dynos = dynos.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    let words = dynos.map(|dyno| format!("{} {}", text(&dyno["name"]), text(&dyno["state"])));
    words.collect::<Vec<_>>().join(", ")
}
