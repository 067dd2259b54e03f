//! `lathe verify`: a release built again from what was recorded of it, and compared.

use super::client::{Client, ClientError};
use super::env::Access;
use super::inputs::current;
use super::say::say;
use super::{CliError, runtime};
use crate::config::Config;
use clap::Args;
use http::Method;
use lathe_slug::{DiffError, SlugId, Store};
use serde_json::Value;
use std::io::{self, Write};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Verify {
    #[arg(short, long)]
    app: String,
    /// Version, as in v3 [default: the current one]
    release: Option<String>,
    /// Differences to name at most
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1)]
    max: usize,
    /// Do not show what the build says
    #[arg(short, long)]
    quiet: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("the platform was asked in vain")]
    Api(#[from] ClientError),
    #[error("{release} of {app} was not built again: {reason}")]
    NotBuilt { app: String, release: String, reason: String },
    #[error("the slugs cannot be compared")]
    Diff(#[from] DiffError),
}

impl VerifyError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Api(ClientError::Refused { .. }) => "The answer says what is missing.".into(),
            Self::Api(_) => "Check the names of app and release: `heroku releases`.".into(),
            Self::NotBuilt { .. } => "What the build said is above; without --quiet.".into(),
            Self::Diff(_) => "Do it as the platform's user.".into(),
        }
    }
}

/// Exit status 0 when it is identical, 1 when not.
pub(super) fn verify(config: &Config, what: &Verify) -> Result<ExitCode, CliError> {
    let access = Access::of(config)?;
    let threads = runtime()?;
    Ok(threads.block_on(rebuild_and_compare(config, &access, what))?)
}

async fn rebuild_and_compare(
    config: &Config,
    access: &Access,
    what: &Verify,
) -> Result<ExitCode, VerifyError> {
    let client = Client::of(access)?;
    let app = &what.app;
    let release = if let Some(version) = &what.release {
        format!("v{}", version.trim_start_matches('v'))
    } else {
        let all = format!("/apps/{app}/releases");
        let all = client.call(Method::GET, &all, &Value::Null).await?;
        format!("v{}", current(all)["version"])
    };
    let mut last = Value::Null;
    let path = format!("/apps/{app}/releases/{release}/actions/rebuild");
    client.lines(&path, &mut |line| last = hear(line, what.quiet)).await?;
    let id = |name: &str| last[name].as_str().and_then(|text| text.parse::<SlugId>().ok());
    let (Some(slug), Some(rebuilt)) = (id("slug"), id("rebuilt")) else {
        let reason = last["failed"].as_str().unwrap_or("the platform has stopped").to_owned();
        return Err(VerifyError::NotBuilt { app: app.clone(), release, reason });
    };
    if slug == rebuilt {
        say!("{release} of {app} is identical: {slug}");
        return Ok(ExitCode::SUCCESS);
    }
    let [one, two] = [&slug, &rebuilt].map(|id| Store::path_in(&config.slugs_dir(), id));
    say!("{release} of {app} differs: {slug} was released, {rebuilt} was built now");
    for difference in lathe_slug::diff(&one, &two, &config.archives, what.max)? {
        say!("{difference}");
    }
    Ok(ExitCode::FAILURE)
}

/// Shows what the build says; whatever else it is, it is given back.
fn hear(line: &str, quiet: bool) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    if let Some(text) = value["output"].as_str().filter(|_| !quiet) {
        let mut stderr = io::stderr();
        stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).ok();
    }
    value
}
