//! Who may use an app besides its owner.

use super::access::AppAccess;
use super::apps;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use crate::state::model::{App, Collaborator};
use crate::state::{self, StateError, accounts};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let app = access.app.clone();
    let all = context.services.store.read(move |tx| state::apps::collaborators(tx, &app)).await?;
    Ok(Json(all.iter().map(|one| show_collaborator(&access.app, one)).collect()))
}

#[derive(Debug, Deserialize)]
pub(super) struct Add {
    /// An e-mail address.
    user: String,
}

/// An account that is not there yet is made; its token is issued on the server.
pub(super) async fn add(
    State(context): State<Context>,
    access: AppAccess,
    Body(add): Body<Add>,
) -> Result<Response, ApiError> {
    let instead = "Whoever may release it is root on this machine: only its operator is to be.";
    access.ordinary("share", instead)?;
    let app = access.app.clone();
    let added = context
        .services
        .store
        .write(move |tx| {
            let account = accounts::find_or_create(tx, &add.user)?;
            state::apps::add_collaborator(tx, &app, &account)?;
            let all = state::apps::collaborators(tx, &app)?;
            all.into_iter()
                .find(|one| one.account.id == account.id)
                .ok_or(StateError::NotFound("collaborator"))
        })
        .await?;
    Ok((StatusCode::CREATED, Json(show_collaborator(&access.app, &added))).into_response())
}

pub(super) async fn remove(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (app, user) = (access.app.clone(), access.parameter("user"));
    let removed = context
        .services
        .store
        .write(move |tx| {
            let removed = state::apps::collaborators(tx, &app)?
                .into_iter()
                .find(|one| {
                    !one.owner && [&one.id, &one.account.id, &one.account.email].contains(&&user)
                })
                .ok_or(StateError::NotFound("collaborator"))?;
            state::apps::remove_collaborator(tx, &app.id, &removed.account.id)?;
            Ok(removed)
        })
        .await?;
    Ok(Json(show_collaborator(&access.app, &removed)))
}

fn show_collaborator(app: &App, one: &Collaborator) -> Value {
    json!({
        "id": one.id,
        "app": apps::brief(app),
        "user": {"id": one.account.id, "email": one.account.email, "federated": false},
        "role": if one.owner { "owner" } else { "collaborator" },
        "permissions": [],
        "created_at": one.created_at,
        "updated_at": one.created_at,
    })
}
