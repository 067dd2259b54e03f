//! Tokens: listed masked, made, ended; a plain token is shown once, when it is made.

use super::access::Caller;
use super::account;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::segments::Segments;
use crate::state::accounts;
use crate::state::model::{Account, Token};
use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

const DESCRIPTION_CHARS_MAX: usize = 256;
const MASKED: &str = "**********";

pub(super) async fn list(
    State(context): State<Context>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    let account = caller.account.id;
    let all = context.services.store.read(move |tx| accounts::tokens_of(tx, &account)).await?;
    Ok(Json(all.iter().map(|token| show_token(token, MASKED)).collect()))
}

#[derive(Debug, Deserialize)]
pub(super) struct Create {
    description: Option<String>,
    /// Seconds from now.
    expires_in: Option<i64>,
    /// An e-mail address: the operator makes a token for somebody else.
    user: Option<String>,
}

/// `heroku login -i` comes here with Basic e-mail and password: the password is a token that is
/// valid already, and the answer is one for this client alone, which it can end by itself.
pub(super) async fn create(
    State(context): State<Context>,
    caller: Result<Caller, ApiError>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = caller.map_err(|_| ApiError::no_password())?;
    // Now only: nobody is listened to before it is known who it is.
    let Body(create) = Body::<Create>::from_request(request, &context).await?;
    if create.expires_in.is_some_and(|seconds| seconds < 1) {
        return Err(ApiError::invalid("expires_in is a number of seconds from now"));
    }
    if create.user.is_some() && caller.account.email != accounts::OPERATOR {
        return Err(ApiError::forbidden("Only the operator makes tokens for others."));
    }
    let description: String =
        create.description.unwrap_or_default().chars().take(DESCRIPTION_CHARS_MAX).collect();
    let (token, plain) = context
        .services
        .store
        .write(move |tx| {
            let account = match create.user {
                Some(email) => accounts::find_or_create(tx, &email)?,
                None => caller.account,
            };
            let expires = create.expires_in.map(|seconds| after(tx.now, seconds));
            accounts::issue_token(tx, &account, &description, expires)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(show_token(&token, &plain))).into_response())
}

/// A time too far away to be written down is the last one that can be.
fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// `~` is the token that asks.
pub(super) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, ApiError> {
    let id = if id == "~" { caller.token.id } else { id };
    let account = caller.account.id;
    let all = context.services.store.read(move |tx| accounts::tokens_of(tx, &account)).await?;
    let found = all.iter().find(|token| token.id == id);
    Ok(Json(show_token(found.ok_or_else(|| ApiError::not_found("authorization"))?, MASKED)))
}

pub(super) async fn revoke(
    State(context): State<Context>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, ApiError> {
    let id = if id == "~" { caller.token.id } else { id };
    end(&context, caller.account.id, id).await
}

/// The platform's own token is replaced by another one: it would not answer itself any more.
async fn end(context: &Context, account: String, id: String) -> Result<Json<Value>, ApiError> {
    let own = context.services.config.owner_token();
    let ended = context.services.store.write(move |tx| {
        let ended = accounts::revoke_token(tx, &account, &id)?;
        accounts::keep_operator_token(tx, &own)?;
        Ok(ended)
    });
    Ok(Json(show_token(&ended.await?, MASKED)))
}

/// Not of Heroku's API: the operator sees who has access, and ends it.
pub(super) async fn list_of_user(
    State(context): State<Context>,
    caller: Caller,
    Segments(user): Segments<String>,
) -> Result<Json<Value>, ApiError> {
    let account = account_of(&context, caller, user).await?.id;
    let all = context.services.store.read(move |tx| accounts::tokens_of(tx, &account)).await?;
    Ok(Json(all.iter().map(|token| show_token(token, MASKED)).collect()))
}

pub(super) async fn revoke_of_user(
    State(context): State<Context>,
    caller: Caller,
    Segments((user, id)): Segments<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let account = account_of(&context, caller, user).await?.id;
    end(&context, account, id).await
}

/// Whose tokens a path means: one's own, and for the operator anybody's.
async fn account_of(context: &Context, caller: Caller, user: String) -> Result<Account, ApiError> {
    if caller.is(&user).is_ok() {
        return Ok(caller.account);
    }
    if caller.account.email != accounts::OPERATOR {
        return Err(ApiError::not_found("user"));
    }
    let found = context.services.store.read(move |tx| accounts::by_email(tx, &user)).await?;
    found.ok_or_else(|| ApiError::not_found("user"))
}

/// There are no browser sessions here; `heroku logout` accepts this answer.
pub(super) async fn end_session(_: Caller) -> ApiError {
    ApiError::not_found("session")
}

fn show_token(token: &Token, plain: &str) -> Value {
    let seconds = |until: Timestamp| until.duration_since(Timestamp::now()).as_secs();
    json!({
        "id": token.id,
        "description": token.description,
        "access_token": {
            "id": token.id,
            "token": plain,
            "expires_in": token.expires_at.map(seconds),
        },
        "client": null,
        "grant": null,
        "refresh_token": null,
        "session": null,
        "scope": ["global"],
        "user": account::brief(&token.account),
        "created_at": token.created_at,
        "updated_at": token.created_at,
    })
}
