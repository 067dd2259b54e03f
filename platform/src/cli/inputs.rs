//! `lathe releases:inputs`: what a release was made from.

use super::ask::text;
use super::client::{Client, ClientError};
use super::env::Access;
use super::say::say;
use super::{CliError, runtime};
use crate::config::Config;
use clap::Args;
use http::Method;
use serde_json::Value;

/// Which release.
#[derive(Debug, Args)]
pub(super) struct ReleaseInputs {
    app: String,
    /// Version, as in v3 [default: the current one]
    release: Option<String>,
    /// The whole record
    #[arg(long)]
    json: bool,
}

/// Why they are not shown.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    #[error("the platform was asked in vain")]
    Api(#[from] ClientError),
    #[error("no release of {app} was built here")]
    NoBuild { app: String },
}

impl InputsError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Api(_) => "Check the names of app and release: `heroku releases`.".into(),
            Self::NoBuild { .. } => "A slug that was uploaded has no record; push the app.".into(),
        }
    }
}

pub(super) fn show(config: &Config, what: &ReleaseInputs) -> Result<(), CliError> {
    let access = Access::of(config)?;
    let client = Client::of(&access);
    let release = runtime()?.block_on(async {
        let releases = format!("/apps/{}/releases", what.app);
        match &what.release {
            Some(version) => {
                client?.call(Method::GET, &format!("{releases}/{version}"), &Value::Null).await
            }
            None => client?.call(Method::GET, &releases, &Value::Null).await.map(current),
        }
    });
    let release = release.map_err(InputsError::Api)?;
    let inputs = &release["inputs"];
    if inputs.is_null() {
        return Err(InputsError::NoBuild { app: what.app.clone() }.into());
    }
    if what.json {
        say!("{inputs:#}");
    } else {
        print(&release, inputs);
    }
    Ok(())
}

/// The release that serves; while none does, the newest.
pub(super) fn current(releases: Value) -> Value {
    let mut all = match releases {
        Value::Array(all) => all,
        _ => Vec::new(),
    };
    let serving = all.iter().position(|release| release["current"] == true);
    let newest = all.len().saturating_sub(1);
    all.drain(..).nth(serving.unwrap_or(newest)).unwrap_or_default()
}

fn print(release: &Value, inputs: &Value) {
    say!("Release v{}: {}", release["version"], text(&release["description"]));
    for (label, name) in [
        ("commit", "commit"),
        ("source", "source"),
        ("build stack", "build_stack"),
        ("run stack", "run_stack"),
        ("Lathe", "lathe"),
    ] {
        say!("{label:12} {}", text(&inputs[name]));
    }
    // The names are the compiler's own, the ones of reports are not.
    for (name, digest) in inputs["locks"].as_object().into_iter().flatten() {
        say!("{name:12} {}", text(digest));
    }
    for buildpack in inputs["buildpacks"].as_array().into_iter().flatten() {
        say!("buildpack    {}", text(&buildpack["pinned"]));
        say!("             {}", text(&buildpack["digest"]));
        for (name, value) in buildpack["report"].as_object().into_iter().flatten() {
            say!("             {}: {}", text(&name.as_str().into()), text(value));
        }
    }
}
