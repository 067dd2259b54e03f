//! Accounts: who the caller is.

use super::access::Caller;
use super::context::Context;
use super::error::ApiError;
use super::segments::Segments;
use crate::state::model::Account;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::time::Instant;

pub(super) async fn show(caller: Caller) -> Json<Value> {
    Json(full(&caller.account))
}

/// `~`, or whatever else the caller is called. Nobody sees anybody else.
pub(super) async fn show_user(
    caller: Caller,
    Segments(user): Segments<String>,
) -> Result<Json<Value>, ApiError> {
    caller.is(&user)?;
    Ok(Json(full(&caller.account)))
}

/// What is left to spend after this request.
pub(super) async fn rate_limits(State(context): State<Context>, caller: Caller) -> Json<Value> {
    Json(json!({"remaining": context.rates.left(&caller.account.id, Instant::now())}))
}

/// The part of an account that other resources hold.
pub(super) fn brief(account: &Account) -> Value {
    json!({"id": account.id, "email": account.email})
}

fn full(account: &Account) -> Value {
    json!({
        "id": account.id,
        "email": account.email,
        "name": null,
        "allow_tracking": false,
        "beta": false,
        "country_of_residence": null,
        "created_at": account.created_at,
        "updated_at": account.created_at,
        "default_organization": null,
        "default_team": null,
        "delinquent_at": null,
        "federated": false,
        "identity_provider": null,
        "last_login": null,
        "sms_number": null,
        "suspended_at": null,
        "two_factor_authentication": false,
        "verified": true,
    })
}
