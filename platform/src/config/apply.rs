//! How file, environment and flags are applied, each through the table of settings.

use super::settings::SETTINGS;
use super::{Config, ConfigError, Origin, classes, value};
use std::collections::BTreeMap;
use std::path::Path;

const BUILD_ENV_KEY: &str = "build.env.";
const BUILD_ENV_VARIABLE: &str = "LATHE_BUILD_ENV_";

pub(super) fn apply_file(config: &mut Config, file: &Path) -> Result<(), ConfigError> {
    let read = |source| ConfigError::Read { path: file.to_path_buf(), source };
    let text = std::fs::read_to_string(file).map_err(read)?;
    let mut table: toml::Table = toml::from_str(&text).map_err(|source| ConfigError::Syntax {
        path: file.to_path_buf(),
        source: Box::new(source),
    })?;
    classes::read(&text, &mut config.classes)
        .map_err(|source| ConfigError::Class { path: file.to_owned(), source: Box::new(source) })?;
    table.remove("classes");
    let origin = Origin::File(file.to_path_buf());
    let mut pairs = Vec::new();
    flatten("", &table, &origin, &mut pairs)?;
    pairs.iter().try_for_each(|(key, value)| apply(config, key, value, &origin))
}

/// Whether the classes that are named exist: any source may name them, only a file can add them.
pub(super) fn check_classes(config: &Config) -> Result<(), ConfigError> {
    let named =
        [("build.class", &config.build.class), ("dynos.release_class", &config.release_class)];
    for (name, class) in named {
        if config.classes.named(class).is_none() {
            return Err(ConfigError::NoClass { name, class: class.clone() });
        }
    }
    Ok(())
}

/// Variables that begin with `LATHE_` and are no setting are left alone: they are somebody else's
/// (a hook's, a service manager's), and refusing them would make the platform hard to embed.
pub(super) fn apply_environment(
    config: &mut Config,
    environment: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (variable, text) in environment.iter().filter(|(name, _)| name.starts_with("LATHE_")) {
        let setting = SETTINGS.iter().find(|setting| setting.variable() == *variable);
        let key = match setting {
            Some(setting) => setting.key.to_owned(),
            None => match variable.strip_prefix(BUILD_ENV_VARIABLE) {
                Some(name) => format!("{BUILD_ENV_KEY}{name}"),
                None => continue,
            },
        };
        apply(config, &key, text, &Origin::Environment)
            .map_err(|error| name_as(error, variable))?;
    }
    Ok(())
}

pub(super) fn apply_flags(
    config: &mut Config,
    flags: &[(String, String)],
) -> Result<(), ConfigError> {
    flags.iter().try_for_each(|(key, value)| apply(config, key, value, &Origin::Flag))
}

fn apply(config: &mut Config, key: &str, text: &str, origin: &Origin) -> Result<(), ConfigError> {
    let refused = |remedy| ConfigError::Value {
        name: key.to_owned(),
        value: text.to_owned(),
        origin: origin.clone(),
        remedy,
    };
    if let Some(name) = key.strip_prefix(BUILD_ENV_KEY) {
        value::env_name(name).map_err(refused)?;
        config.build.env.insert(name.to_owned(), text.to_owned());
        return Ok(());
    }
    match SETTINGS.iter().find(|setting| setting.key == key) {
        Some(setting) => (setting.set)(config, text).map_err(refused),
        None => Err(ConfigError::Unknown {
            name: key.to_owned(),
            origin: origin.clone(),
            nearest: nearest(key).to_owned(),
        }),
    }
}

/// The setting a mistyped key most likely means: the longest common beginning and end.
fn nearest(key: &str) -> &'static str {
    let alike = |a: &str| {
        let front = a.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
        let back = a.bytes().rev().zip(key.bytes().rev()).take_while(|(a, b)| a == b).count();
        front + back
    };
    SETTINGS.iter().map(|setting| setting.key).max_by_key(|known| alike(known)).unwrap_or_default()
}

/// Names the variable instead of the key, because that is what its author wrote.
fn name_as(error: ConfigError, variable: &str) -> ConfigError {
    match error {
        ConfigError::Value { value, origin, remedy, .. } => {
            ConfigError::Value { name: variable.to_owned(), value, origin, remedy }
        }
        other => other,
    }
}

/// `[listen] router = "…"` as `listen.router`, everything as text.
fn flatten(
    prefix: &str,
    table: &toml::Table,
    origin: &Origin,
    pairs: &mut Vec<(String, String)>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if let toml::Value::Table(inner) = value {
            flatten(&key, inner, origin, pairs)?;
            continue;
        }
        let text = match value {
            toml::Value::Array(items) => {
                items.iter().map(scalar).collect::<Option<Vec<_>>>().map(|items| items.join(","))
            }
            single => scalar(single),
        };
        match text {
            Some(text) => pairs.push((key, text)),
            None => return Err(ConfigError::Shape { name: key, origin: origin.clone() }),
        }
    }
    Ok(())
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}
