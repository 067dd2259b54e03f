//! What an `app.json` says of tests: the commands, and the variables they get.

use crate::error::CompileError;
use crate::source::read_small;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The part of an `app.json` that a test run reads; the rest is for other uses of the file.
/// Heroku Dev Center, "app.json Schema".
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ForTests {
    /// A shell command between the build and the tests.
    pub(crate) setup: Option<String>,
    /// A shell command that takes the place of the buildpacks' own tests.
    pub(crate) test: Option<String>,
    pub(crate) env: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    #[serde(flatten)]
    everywhere: Environment,
    environments: Environments,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Environments {
    test: Environment,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Environment {
    scripts: Scripts,
    env: BTreeMap<String, Variable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Scripts {
    test_setup: Option<String>,
    test: Option<String>,
}

/// A value, or what is to be known of one that somebody has to give.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Variable {
    Value(String),
    About {
        #[serde(default)]
        value: Option<String>,
    },
}

impl Variable {
    fn value(self) -> Option<String> {
        match self {
            Self::Value(value) => Some(value),
            Self::About { value } => value,
        }
    }
}

/// Reads the `app.json` at the top of `dir`; none says nothing.
pub(crate) fn for_tests(dir: &Path) -> Result<ForTests, CompileError> {
    let read = |source| CompileError::ReadSource { path: "app.json".into(), source };
    match read_small(&dir.join("app.json")).map_err(read)? {
        Some(bytes) => parse(&bytes).map_err(CompileError::AppJson),
        None => Ok(ForTests::default()),
    }
}

/// What is said of the test environment goes before what is said of all.
fn parse(bytes: &[u8]) -> Result<ForTests, serde_json::Error> {
    let Document { everywhere, environments } = serde_json::from_slice(bytes)?;
    let test = environments.test;
    let env = everywhere.env.into_iter().chain(test.env);
    Ok(ForTests {
        setup: test.scripts.test_setup.or(everywhere.scripts.test_setup),
        test: test.scripts.test.or(everywhere.scripts.test),
        env: env.filter_map(|(name, variable)| Some((name, variable.value()?))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(setup: Option<&str>, test: Option<&str>, env: &[(&str, &str)]) -> ForTests {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        ForTests {
            setup: setup.map(str::to_owned),
            test: test.map(str::to_owned),
            env: env.collect(),
        }
    }

    #[test]
    fn the_test_environment_goes_first() {
        let cases = [
            ("{}", said(None, None, &[])),
            (r#"{"name": "x", "addons": ["y"]}"#, said(None, None, &[])),
            (
                r#"{"scripts": {"test": "make test", "postdeploy": "x"}}"#,
                said(None, Some("make test"), &[]),
            ),
            (
                r#"{"scripts": {"test": "a", "test-setup": "s"},
                    "environments": {"test": {"scripts": {"test": "b"}}}}"#,
                said(Some("s"), Some("b"), &[]),
            ),
            (
                r#"{"env": {"A": "1", "B": {"value": "2"}, "C": {"required": true}},
                    "environments": {"test": {"env": {"A": "3"}}, "review": {"env": {"D": "4"}}}}"#,
                said(None, None, &[("A", "3"), ("B", "2")]),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()).unwrap(), expected, "{text}");
        }
        for text in ["", "[]", r#"{"scripts": 1}"#, r#"{"scripts": {"test": 1}}"#] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
