//! What Lathe does not have: an honest nothing, so that clients can go on.

use super::access::{AppAccess, Caller};
use super::error::ApiError;
use axum::Json;
use serde_json::{Value, json};

/// There are none of these here.
pub(super) async fn none(_: Caller) -> Json<Value> {
    Json(json!([]))
}

/// The app has none of these.
pub(super) async fn none_of_app(_: AppAccess) -> Json<Value> {
    Json(json!([]))
}

pub(super) async fn no_pipeline(_: AppAccess) -> ApiError {
    ApiError::not_found("pipeline coupling")
}

/// A path of the route table with a method that it does not have.
pub(super) async fn method() -> ApiError {
    ApiError::method_not_allowed()
}

/// Anything that is not in the route table.
pub(super) async fn unknown() -> ApiError {
    ApiError::no_route()
}
