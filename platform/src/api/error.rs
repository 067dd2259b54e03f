//! What a caller is told when something is not done: `{"id", "message"}` and the right status.

use crate::host::disk::Full;
use crate::state::StateError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal in Heroku's form. Nothing internal is ever in it.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    id: &'static str,
    message: String,
    /// What kind of thing was not found; the CLI asks.
    resource: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, id: &'static str, message: impl Into<String>) -> Self {
        Self { status, id, message: message.into(), resource: None }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Invalid credentials provided.")
    }

    /// For a login: says what to type instead of a password.
    pub(super) fn no_password() -> Self {
        let message = "There are no passwords here: give your API token as the password. \
            The first one is in the file owner-token of the server's data directory.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_params", message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(super) fn not_acceptable() -> Self {
        let message = "This API speaks version 3: Accept: application/vnd.heroku+json; version=3";
        Self::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message)
    }

    pub(super) fn rate_limited() -> Self {
        let message = "Your account reached the API rate limit. Please wait a few minutes.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit", message)
    }

    pub(super) fn too_large(bytes_max: u64) -> Self {
        let message = format!("The request is larger than {bytes_max} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    pub(super) fn range() -> Self {
        let message = "That Range cannot be read; write for example: Range: id ..; max=200";
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "requested_range_not_satisfiable", message)
    }

    pub(super) fn not_found(what: &'static str) -> Self {
        let message = format!("Couldn't find that {what}.");
        let error = Self::new(StatusCode::NOT_FOUND, "not_found", message);
        Self { resource: Some(resource(what)), ..error }
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "This endpoint does not have that method.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    pub(super) fn no_route() -> Self {
        let message = "This server has no such endpoint.";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    fn unknown_outcome(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "nobody knows whether an API request took effect");
        let message = "This server's disk failed just now, and whether that took effect is not \
            known. Look before you repeat it.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error", message)
    }

    /// The state itself has logged why.
    fn read_only() -> Self {
        let message = "This server's disk fails: apps serve, and nothing can be changed until its \
            operator has mended it.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", message)
    }

    /// Says nothing but where to look; the chain is logged here, once.
    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "an API request failed");
        let message = "Something went wrong; the server's log says what, by this request's id.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_server_error", message)
    }
}

/// `process type` → `process_type`: the schema's spelling.
fn resource(what: &'static str) -> &'static str {
    match what {
        "process type" => "formation",
        "log drain" => "log_drain",
        other => other,
    }
}

impl From<Full> for ApiError {
    fn from(_: Full) -> Self {
        let message = "This server's disk is nearly full. Its operator has to make room.";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "insufficient_storage", message)
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::NotFound(what) => Self::not_found(what),
            StateError::Refused(message) => Self::invalid(message),
            error @ StateError::Unknown(_) => Self::unknown_outcome(&error),
            StateError::InDoubt { .. } => Self::read_only(),
            other => Self::internal(&other),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({"id": self.id, "message": self.message});
        if let (Some(resource), Some(fields)) = (self.resource, body.as_object_mut()) {
            fields.insert("resource".into(), resource.into());
        }
        (self.status, Json(body)).into_response()
    }
}
