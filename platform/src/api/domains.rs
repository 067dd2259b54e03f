//! Host names of an app: its own, and those that users add.

use super::access::AppAccess;
use super::apps;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::page::page;
use crate::state::domains;
use crate::state::model::{App, Domain};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use lathe_logs::Source;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = access.app.id.clone();
    let custom = context.services.store.read(move |tx| domains::of_app(tx, &id)).await?;
    let mut items = vec![show_own(&context, &access.app)];
    items.extend(custom.iter().map(|domain| show_domain(&context, &access.app, domain)));
    page(&headers, &["id", "hostname"], items)
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let identity = access.parameter("domain");
    if identity == own_name(&context, &access.app) || identity == access.app.id {
        return Ok(Json(show_own(&context, &access.app)));
    }
    let id = access.app.id.clone();
    let found =
        context.services.store.read(move |tx| domains::by_identity(tx, &id, &identity)).await?;
    Ok(Json(show_domain(&context, &access.app, &found)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Add {
    hostname: String,
}

pub(super) async fn add(
    State(context): State<Context>,
    access: AppAccess,
    Body(add): Body<Add>,
) -> Result<Response, ApiError> {
    // Names below the apps' own domain belong to the apps of those names.
    let domain = &context.services.config.apps_domain;
    let asked = add.hostname.to_ascii_lowercase();
    if asked == *domain || asked.ends_with(&format!(".{domain}")) {
        return Err(ApiError::invalid(format!(
            "Names below {domain} are given to apps by their name"
        )));
    }
    let id = access.app.id.clone();
    let added =
        context.services.store.write(move |tx| domains::add(tx, &id, &add.hostname)).await?;
    let line = format!("Add {} domain by user {}", added.hostname, access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
    let shown = show_domain(&context, &access.app, &added);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

pub(super) async fn remove(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (id, identity) = (access.app.id.clone(), access.parameter("domain"));
    let removed =
        context.services.store.write(move |tx| domains::remove(tx, &id, &identity)).await?;
    Ok(Json(show_domain(&context, &access.app, &removed)))
}

fn own_name(context: &Context, app: &App) -> String {
    format!("{}.{}", app.name, context.services.config.apps_domain)
}

fn show_own(context: &Context, app: &App) -> Value {
    json!({
        "id": app.id,
        "app": apps::brief(app),
        "hostname": own_name(context, app),
        "kind": "heroku",
        "cname": null,
        "acm_status": null,
        "acm_status_reason": null,
        "sni_endpoint": null,
        "status": "none",
        "created_at": app.created_at,
        "updated_at": app.created_at,
    })
}

/// A custom name is served as soon as it is added; DNS is its owner's, so there is nothing to wait
/// for here (`status` none).
fn show_domain(context: &Context, app: &App, domain: &Domain) -> Value {
    json!({
        "id": domain.id,
        "app": apps::brief(app),
        "hostname": domain.hostname,
        "kind": "custom",
        "cname": own_name(context, app),
        "acm_status": null,
        "acm_status_reason": null,
        "sni_endpoint": null,
        "status": "none",
        "created_at": domain.created_at,
        "updated_at": domain.updated_at,
    })
}
