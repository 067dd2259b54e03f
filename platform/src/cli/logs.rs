//! `lathe logs:counts`: where an app's log lines went.

use super::CliError;
use super::ask::{ask, rows, text};
use super::say::say;
use super::table::table;
use crate::config::Config;
use clap::Args;
use http::Method;
use serde_json::Value;

/// Whose lines.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The app
    #[arg(short, long)]
    app: String,
}

pub(super) fn counts(config: &Config, what: &Show) -> Result<(), CliError> {
    let counts = ask(config, Method::GET, &format!("/apps/{}/log-counts", what.app), &Value::Null)?;
    let row = |of: &Value, names: &[&str]| names.iter().map(|name| text(&of[*name])).collect();
    let app = ["emitted", "stored", "evicted", "dropped"];
    say!("{}", table(&app, std::iter::once(row(&counts, &app))));
    let drains = rows(&counts["drains"]);
    if !drains.is_empty() {
        let drain = ["id", "taken", "delivered", "dropped", "pending"];
        say!("");
        say!("{}", table(&drain, drains.iter().map(|counts| row(counts, &drain))));
    }
    Ok(())
}
