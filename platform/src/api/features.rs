//! App features, which the Heroku CLI switches as `labs`.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::page::page;
use crate::state::features;
use crate::state::model::{App, Feature};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = access.app.id.clone();
    let all = context.services.store.read(move |tx| features::of_app(tx, &id)).await?;
    page(&headers, &["id", "name"], all.iter().map(|one| show_feature(&access.app, one)).collect())
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (id, name) = (access.app.id.clone(), access.parameter("feature"));
    let found = context.services.store.read(move |tx| features::named(tx, &id, &name)).await?;
    Ok(Json(show_feature(&access.app, &found)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Update {
    enabled: bool,
}

pub(super) async fn update(
    State(context): State<Context>,
    access: AppAccess,
    Body(Update { enabled }): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let (id, name) = (access.app.id.clone(), access.parameter("feature"));
    let store = &context.services.store;
    let set = store.write(move |tx| features::set(tx, &id, &name, enabled)).await?;
    Ok(Json(show_feature(&access.app, &set)))
}

fn show_feature(app: &App, feature: &Feature) -> Value {
    // A feature has no row while it is off: its id follows from whose it is.
    let whose = format!("{} {}", app.id, feature.name);
    let changed_at = feature.enabled_at.unwrap_or(app.created_at);
    json!({
        "id": id_of(&whose),
        "name": feature.name,
        "display_name": null,
        "description": "What each dyno uses, told in the app's log every 20 seconds",
        "doc_url": "https://devcenter.heroku.com/articles/log-runtime-metrics",
        "feedback_email": null,
        "state": "beta",
        "enabled": feature.enabled_at.is_some(),
        "created_at": app.created_at,
        "updated_at": changed_at,
    })
}

/// The same for the same text.
fn id_of(text: &str) -> Uuid {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(text).into();
    uuid::Builder::from_random_bytes(*digest[..].first_chunk().unwrap_or(&[0; 16])).into_uuid()
}
