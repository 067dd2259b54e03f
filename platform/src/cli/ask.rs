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
    let access = Access::of(config)?;
    let asked = async { Client::of(&access)?.call(method, path, body).await };
    Ok(runtime()?.block_on(asked)?)
}

/// The elements of a list; none of what is no list.
pub(super) fn rows(list: &Value) -> Vec<Value> {
    list.as_array().cloned().unwrap_or_default()
}

/// A string without its quotes, `-` for nothing. Apps, buildpacks and other accounts wrote it: what
/// steers a terminal is left out.
pub(super) fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_is_shown_steers_a_terminal() {
        for (value, shown) in [
            (json!("CI \u{1b}[2J\u{9b}1A\r\n\u{7f}x"), "CI [2J1Ax"),
            (json!(["\u{9b}"]), "[\"\"]"),
            (json!(""), ""),
            (json!(null), "-"),
            (json!(2.5), "2.5"),
            (json!(true), "true"),
        ] {
            assert_eq!(text(&value), shown);
        }
    }
}
