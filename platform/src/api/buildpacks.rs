//! Which buildpacks an app is built with, in order.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::segments::Segments;
use crate::state::buildpacks;
use axum::Json;
use axum::extract::State;
use lathe_compiler::{Catalogue, ParseReferenceError, Reference};
use lathe_logs::Source;
use serde::Deserialize;
use serde_json::{Value, json};

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
    let catalogue = context.builder.catalogue().map_err(|error| ApiError::internal(&error))?;
    for url in &urls {
        check(url, &catalogue)?;
    }
    let (app, kept) = (access.app.id.clone(), urls.clone());
    context.services.store.write(move |tx| buildpacks::set(tx, &app, &kept)).await?;
    let line = format!("Buildpacks set by user {}", access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
    Ok(Json(show(&urls)))
}

/// Told now rather than by the next build.
fn check(url: &str, catalogue: &Catalogue) -> Result<(), ApiError> {
    let reference: Reference = url.parse().map_err(|error: ParseReferenceError| {
        ApiError::invalid(format!("The buildpack {error}"))
    })?;
    if catalogue.resolve(&reference).is_some() {
        return Ok(());
    }
    let known = catalogue.names().join(", ");
    Err(ApiError::invalid(format!("There is no buildpack {reference} here; there are {known}")))
}

/// The lookup of Heroku's buildpack registry, which the CLI does for every name: what the name
/// stands for is for the build to find out.
pub(super) async fn registered(
    State(context): State<Context>,
    Segments(name): Segments<String>,
) -> Result<Json<Value>, ApiError> {
    let catalogue = context.builder.catalogue().map_err(|error| ApiError::internal(&error))?;
    check(&name, &catalogue)?;
    Ok(Json(json!({"blob_url": name})))
}

fn show(urls: &[String]) -> Value {
    let one = |(ordinal, url): (usize, &String)| json!({"ordinal": ordinal, "buildpack": {"url": url, "name": url}});
    urls.iter().enumerate().map(one).collect()
}
