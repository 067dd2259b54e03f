//! What the last buildpack's `bin/release` offers: YAML from a stranger, read with tight limits.

use crate::buildpack::Buildpack;
use crate::error::CompileError;
use crate::program::{Captured, Ending};
use crate::site::{Folders, Site};
use lathe_slug::Procfile;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_mins(1);
const YAML_BYTES_MAX: usize = 64 << 10;
const PAIRS_MAX: usize = 200;
const PROBLEM_CHARS_MAX: usize = 300;

/// Heroku Dev Center, "Buildpack API", `bin/release`. `addons` is read over: nobody asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// For an app's first release.
    pub config_vars: BTreeMap<String, String>,
    /// In the order given; a Procfile's entries come before them.
    pub process_types: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("it exited with status {status}")]
    Failed { status: i32 },
    #[error("it did not finish")]
    Unfinished,
    #[error("it wrote more than {} KB", YAML_BYTES_MAX >> 10)]
    TooLong,
    #[error("its output is not UTF-8")]
    NotText,
    #[error("its YAML cannot be used: {problem}")]
    Yaml { problem: String },
    #[error("{name:?} with its command is no process type")]
    ProcessType { name: String },
}

pub(crate) fn release(site: &Site<'_>, pack: &Buildpack) -> Result<Release, CompileError> {
    let Some(path) = pack.program("release") else { return Ok(Release::default()) };
    let program = site.program(pack, &path, Folders::Build);
    let seen = site.ask(&program, TIMEOUT, YAML_BYTES_MAX).map_err(|source| CompileError::Run {
        buildpack: pack.name.clone(),
        program: "release",
        source,
    })?;
    if seen.ending == Ending::Cancelled {
        return Err(CompileError::Cancelled);
    }
    read(&seen).map_err(|source| CompileError::Release { buildpack: pack.name.clone(), source })
}

fn read(seen: &Captured) -> Result<Release, ReleaseError> {
    match seen.ending {
        Ending::Exited(0) if seen.cut => Err(ReleaseError::TooLong),
        Ending::Exited(0) => {
            parse(std::str::from_utf8(&seen.stdout).map_err(|_| ReleaseError::NotText)?)
        }
        Ending::Exited(status) => Err(ReleaseError::Failed { status }),
        Ending::Signaled(_) | Ending::TimedOut | Ending::Cancelled => Err(ReleaseError::Unfinished),
    }
}

/// Reads what `bin/release` wrote. Nothing at all, `---` and `--- {}` all mean "no suggestions".
pub fn parse(yaml: &str) -> Result<Release, ReleaseError> {
    if yaml.lines().all(|line| matches!(line.trim(), "" | "---" | "...")) {
        return Ok(Release::default());
    }
    let document: Option<Document> = from_yaml(yaml)?;
    let document = document.unwrap_or_default();
    let process_types = document.default_process_types.unwrap_or_default().0;
    for (name, command) in &process_types {
        check_process_type(name, command)?;
    }
    let config_vars = document.config_vars.unwrap_or_default().0.into_iter().collect();
    Ok(Release { config_vars, process_types })
}

/// A default must be something a Procfile could say.
fn check_process_type(name: &str, command: &str) -> Result<(), ReleaseError> {
    let line = format!("{name}: {command}");
    let parsed = Procfile::parse(line.as_bytes()).ok();
    let same = parsed.is_some_and(|procfile| {
        let mut types = procfile.processes();
        types.next().is_some_and(|(parsed, _)| parsed == name) && types.next().is_none()
    });
    if same { Ok(()) } else { Err(ReleaseError::ProcessType { name: name.to_owned() }) }
}

/// No aliases, little depth, few nodes: what a buildpack has to say fits on a page.
pub(crate) fn from_yaml<T: for<'de> Deserialize<'de>>(yaml: &str) -> Result<T, ReleaseError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_depth: 8,
            max_nodes: 2_000,
            max_events: 8_000,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(yaml, options).map_err(|error| {
        let problem = error.to_string().chars().take(PROBLEM_CHARS_MAX).collect();
        ReleaseError::Yaml { problem }
    })
}

#[derive(Debug, Default, serde::Deserialize)]
struct Document {
    #[serde(default)]
    config_vars: Option<Pairs>,
    #[serde(default)]
    default_process_types: Option<Pairs>,
    #[serde(default, rename = "addons")]
    _addons: Option<IgnoredAny>,
}

/// A mapping of names to scalars, in its order, every scalar as its text.
#[derive(Debug, Default)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names to single values")
            }
            fn visit_unit<E>(self) -> Result<Pairs, E> {
                Ok(Pairs::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if pairs.len() == PAIRS_MAX {
                        return Err(serde::de::Error::custom(format!(
                            "more than {PAIRS_MAX} names"
                        )));
                    }
                    pairs.push((name, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
