//! Config vars: a flat map of texts; every change of it is a release.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use crate::causes::causes;
use crate::config;
use crate::state::model::Config;
use crate::state::{StateError, releases};
use axum::Json;
use axum::extract::State;
use lathe_logs::Source;
use std::collections::BTreeMap;

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Config>, ApiError> {
    let head = context.services.store.read(move |tx| releases::head(tx, &access.app.id)).await?;
    Ok(Json(head.map(|release| release.config).unwrap_or_default()))
}

/// Null takes a name away. The release exists before the answer is given.
pub(super) async fn update(
    State(context): State<Context>,
    access: AppAccess,
    Body(changes): Body<BTreeMap<String, Option<String>>>,
) -> Result<Json<Config>, ApiError> {
    if let Some(name) = changes.keys().find(|name| !is_valid_name(name)) {
        let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(ApiError::invalid(format!(
            "{name:?} is not a name for a config var: letters, digits and underscores, no digit first"
        )));
    }
    if changes.values().flatten().any(|value| value.contains('\0')) {
        return Err(ApiError::invalid("A config var cannot hold a NUL byte"));
    }
    let (app, account) = (access.app.clone(), access.account.clone());
    let settings = context.services.config.clone();
    let (config, said) = context
        .services
        .store
        .write(move |tx| {
            let before = releases::head(tx, &app.id)?.map(|head| head.config).unwrap_or_default();
            let (config, description) = apply(before.clone(), &changes);
            if config == before {
                return Ok((config, None));
            }
            if app.system {
                check_settings(&settings, &config)?;
            }
            let change = releases::Change {
                description: description.clone(),
                slug: None,
                config: Some(config),
            };
            let release = releases::append(tx, &app, &account, change)?;
            Ok::<_, StateError>((release.config, Some((description, release.version))))
        })
        .await?;
    if let Some((description, version)) = said {
        let by = &access.account.email;
        let app = &access.app.id;
        context.services.say(app, Source::App, "api", &format!("{description} by user {by}"));
        context.services.say(
            app,
            Source::App,
            "api",
            &format!("Release v{version} created by user {by}"),
        );
    }
    Ok(Json(config))
}

/// The config vars of the platform itself are its environment: with these it has to be able to start.
fn check_settings(settings: &config::Config, vars: &Config) -> Result<(), StateError> {
    let elsewhere =
        ["LATHE_DATA", "LATHE_CONFIG"].into_iter().find(|name| vars.contains_key(*name));
    if let Some(name) = elsewhere {
        let refused = format!("{name} would make another platform of this one");
        return Err(StateError::Refused(refused));
    }
    settings.fits(vars).map_err(|error| {
        let (what, remedy) = (causes(&error), error.remedy());
        StateError::Refused(format!("The platform could not start: {what}. {remedy}"))
    })
}

/// A name that every shell and the buildpacks' `ENV_DIR` can hold.
fn is_valid_name(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.len() <= 256
        && name.bytes().all(ok)
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// The new map, and what a release made of it is called.
fn apply(mut config: Config, changes: &BTreeMap<String, Option<String>>) -> (Config, String) {
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for (name, value) in changes {
        let before = config.remove(name);
        if let Some(value) = value {
            config.insert(name.clone(), value.clone());
        }
        match value {
            _ if before == *value => {}
            Some(_) => set.push(name.as_str()),
            None => removed.push(name.as_str()),
        }
    }
    let description = match (set.as_slice(), removed.as_slice()) {
        (set, []) => format!("Set {} config vars", set.join(", ")),
        ([], removed) => format!("Remove {} config vars", removed.join(", ")),
        (set, removed) => {
            format!("Set {}; remove {} config vars", set.join(", "), removed.join(", "))
        }
    };
    (config, description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_apply_and_describe_themselves() {
        let before = Config::from([("A".into(), "1".into()), ("B".into(), "2".into())]);
        let change = |pairs: &[(&str, Option<&str>)]| {
            let pairs =
                pairs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)));
            apply(before.clone(), &pairs.collect())
        };
        assert_eq!(change(&[("A", Some("1"))]).0, before);
        assert_eq!(change(&[("C", Some("3")), ("A", Some("9"))]).1, "Set A, C config vars");
        let (config, description) = change(&[("A", None), ("X", None)]);
        assert_eq!((config.len(), description.as_str()), (1, "Remove A config vars"));
        for (name, valid) in [
            ("A_1", true),
            ("_a", true),
            ("1A", false),
            ("", false),
            ("A-B", false),
            ("A=B", false),
            ("É", false),
        ] {
            assert_eq!(is_valid_name(name), valid, "{name}");
        }
    }
}
