//! Automatic certificates, switched on and off for an app.

use super::access::AppAccess;
use super::apps::{self, Details};
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use crate::state::apps::by_id;
use crate::state::{Tx, acm};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lathe_logs::Source;
use serde::Deserialize;
use serde_json::Value;

pub(super) async fn enable(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Response, ApiError> {
    let config = &context.services.config;
    if config.acme.email.is_none() {
        return Err(ApiError::invalid(
            "Automatic certificates are off on this server: its operator has to set acme.email, \
             the address for the certificate authority's notices. Certificates of your own: \
             heroku certs:add CRT KEY",
        ));
    }
    let shown = switch(&context, &access, true).await?;
    Ok((StatusCode::CREATED, shown).into_response())
}

/// What was issued goes: nobody would renew it.
pub(super) async fn disable(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    switch(&context, &access, false).await
}

#[derive(Debug, Deserialize)]
pub(super) struct Update {
    #[serde(default)]
    acm_refresh: bool,
}

pub(super) async fn refresh(
    State(context): State<Context>,
    access: AppAccess,
    Body(update): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    if !access.app.acm {
        let name = &access.app.name;
        let message = format!("Automatic certificates are off: heroku certs:auto:enable -a {name}");
        return Err(ApiError::invalid(message));
    }
    let id = access.app.id.clone();
    let store = &context.services.store;
    if update.acm_refresh {
        store.write(move |tx| acm::refresh(tx, &id)).await?;
    }
    let details = store.read(move |tx| Details::read(tx, access.app)).await?;
    Ok(Json(apps::show_app(&context, &details)))
}

async fn switch(context: &Context, access: &AppAccess, on: bool) -> Result<Json<Value>, ApiError> {
    let id = access.app.id.clone();
    let change = move |tx: &Tx<'_>| {
        acm::switch(tx, &id, on)?;
        Details::read(tx, by_id(tx, &id)?)
    };
    let details = context.services.store.write(change).await?;
    let what = if on { "Enable" } else { "Disable" };
    let line = format!("{what} automatic certificates by user {}", access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
    Ok(Json(apps::show_app(context, &details)))
}
