//! Which buildpacks an app is built with, in order.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use crate::state::buildpacks;
use axum::Json;
use axum::extract::State;
use lathe_logs::Source;
use serde::Deserialize;
use serde_json::{Value, json};

const URL_BYTES_MAX: usize = 2048;

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let urls =
        context.services.store.read(move |tx| buildpacks::of_app(tx, &access.app.id)).await?;
    Ok(Json(show(&urls)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Set {
    updates: Vec<One>,
}

#[derive(Debug, Deserialize)]
struct One {
    buildpack: String,
}

/// Replaces the whole list; it counts from the next build on.
pub(super) async fn set(
    State(context): State<Context>,
    access: AppAccess,
    Body(set): Body<Set>,
) -> Result<Json<Value>, ApiError> {
    let urls: Vec<String> = set.updates.into_iter().map(|one| one.buildpack).collect();
    let unusable = |url: &&String| {
        url.is_empty() || url.len() > URL_BYTES_MAX || url.chars().any(char::is_control)
    };
    if urls.iter().find(unusable).is_some() {
        return Err(ApiError::invalid("A buildpack is a name, a git URL or the URL of an archive"));
    }
    let (app, kept) = (access.app.id.clone(), urls.clone());
    context.services.store.write(move |tx| buildpacks::set(tx, &app, &kept)).await?;
    let line = format!("Buildpacks set by user {}", access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
    Ok(Json(show(&urls)))
}

fn show(urls: &[String]) -> Value {
    let one = |(ordinal, url): (usize, &String)| json!({"ordinal": ordinal, "buildpack": {"url": url, "name": url}});
    urls.iter().enumerate().map(one).collect()
}
