//! One call of the platform's API on behalf of whoever is on the machine, and reading its answer.

use super::client::Client;
use super::env::Access;
use super::{CliError, runtime};
use crate::config::Config;
use http::Method;
use serde_json::Value;

pub(super) fn ask(
    config: &Config,
    method: Method,
    path: &str,
    body: &Value,
) -> Result<Value, CliError> {
    let Access { endpoints, token, authority } = Access::of(config)?;
    let asked = async {
        let client = Client::new(&endpoints, &token, &authority)?;
        client.call(method, path, body).await
    };
    Ok(runtime()?.block_on(asked)?)
}

/// The elements of a list; none of what is no list.
pub(super) fn rows(list: &Value) -> Vec<Value> {
    list.as_array().cloned().unwrap_or_default()
}

/// A string without its quotes.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
