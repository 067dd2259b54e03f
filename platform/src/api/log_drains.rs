//! Log drains: where an app's lines go besides the ring.

use super::access::AppAccess;
use super::apps;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::page::page;
use crate::state::drains;
use crate::state::model::{App, Drain};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use lathe_logs::AppId;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let app = access.app;
    let id = app.id.clone();
    let all = context.services.store.read(move |tx| drains::of_app(tx, &id)).await?;
    page(&headers, &["id"], all.iter().map(|drain| show_drain(&app, drain)).collect())
}

#[derive(Debug, Deserialize)]
pub(super) struct Add {
    url: String,
}

pub(super) async fn add(
    State(context): State<Context>,
    access: AppAccess,
    Body(add): Body<Add>,
) -> Result<Response, ApiError> {
    if let Err(error) = add.url.parse::<lathe_logs::drain::Target>() {
        return Err(ApiError::invalid(format!("That drain URL cannot be used: {error}")));
    }
    let id = access.app.id.clone();
    let added = context.services.store.write(move |tx| drains::add(tx, &id, &add.url)).await?;
    Ok((StatusCode::CREATED, Json(show_drain(&access.app, &added))).into_response())
}

pub(super) async fn remove(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (app, identity) = (access.app.id.clone(), access.parameter("drain"));
    let removed =
        context.services.store.write(move |tx| drains::remove(tx, &app, &identity)).await?;
    Ok(Json(show_drain(&access.app, &removed)))
}

/// Where the app's lines went: `emitted = dropped + stored + evicted`, and for each drain
/// `taken = delivered + dropped + pending`.
pub(super) async fn counts(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let counts = context.services.hub.counts(&AppId::new(&access.app.id));
    let drains = counts.drains.iter().map(|(id, drain)| {
        json!({
            "id": id,
            "taken": drain.taken,
            "delivered": drain.delivered,
            "dropped": drain.dropped,
            "pending": drain.pending,
        })
    });
    Ok(Json(json!({
        "emitted": counts.emitted,
        "stored": counts.stored,
        "evicted": counts.evicted,
        "dropped": counts.dropped,
        "drains": drains.collect::<Vec<_>>(),
    })))
}

fn show_drain(app: &App, drain: &Drain) -> Value {
    json!({
        "id": drain.id,
        "app": apps::brief(app),
        "addon": null,
        "token": drain.token,
        "url": drain.url,
        "created_at": drain.created_at,
        "updated_at": drain.created_at,
    })
}
