//! What the registry answers when it does not give what was asked for.

use crate::stack::{LayerError, StackError};
use crate::state::StateError;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::io;

/// The password is an API token, as for git.
const REALM: &str = "Basic realm=\"Lathe\"";

/// Why there is no answer. Codes are those of the "OCI Distribution Specification", "Error Codes".
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistryError {
    #[error("no token, or one that is not known")]
    Credentials,
    #[error("no such app")]
    NoApp,
    #[error("no such image")]
    NoManifest,
    #[error("no such layer")]
    NoBlob,
    #[error("images come from `git push`")]
    PullOnly,
    #[error("the range lies outside")]
    Range { bytes: u64 },
    #[error("the state could not be asked")]
    State(#[from] StateError),
    #[error("the stack could not be looked up")]
    Stack(#[from] StackError),
    #[error("the stack's layer could not be made")]
    Layer(#[from] LayerError),
    #[error("the layer could not be read")]
    Read(#[source] io::Error),
    #[error("the work was interrupted")]
    Interrupted,
}

impl RegistryError {
    fn told(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Credentials => (
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "Log in with `docker login`: any user name, your API token as the password.",
            ),
            Self::NoApp => (StatusCode::NOT_FOUND, "NAME_UNKNOWN", "Couldn't find that app."),
            Self::NoManifest => (
                StatusCode::NOT_FOUND,
                "MANIFEST_UNKNOWN",
                "The app has no such image: tags are `latest` and the releases that have a slug, \
                 such as `v2`.",
            ),
            Self::NoBlob => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "The app has no such layer."),
            Self::PullOnly => (
                StatusCode::METHOD_NOT_ALLOWED,
                "UNSUPPORTED",
                "Images can only be pulled here: they are made by `git push`.",
            ),
            Self::Range { .. } => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", "The layer is shorter.")
            }
            Self::State(_)
            | Self::Stack(_)
            | Self::Layer(_)
            | Self::Read(_)
            | Self::Interrupted => {
                (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "Internal error. Try again.")
            }
        }
    }
}

impl IntoResponse for RegistryError {
    fn into_response(self) -> Response {
        let (status, code, message) = self.told();
        if status.is_server_error() {
            tracing::error!(error = &self as &dyn std::error::Error, "the registry");
        }
        let body = Json(json!({ "errors": [{ "code": code, "message": message }] }));
        match self {
            Self::Credentials => {
                (status, [(header::WWW_AUTHENTICATE, REALM)], body).into_response()
            }
            Self::Range { bytes } => {
                (status, [(header::CONTENT_RANGE, format!("bytes */{bytes}"))], body)
                    .into_response()
            }
            _ => (status, body).into_response(),
        }
    }
}

/// Whatever would change something.
pub(super) async fn pull_only() -> RegistryError {
    RegistryError::PullOnly
}
