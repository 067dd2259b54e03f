//! A pull-only registry: every release as an image of two layers, its stack and its slug.
//!
//! Nothing is copied for it. The slug's layer is the slug as it is stored, the stack's layer is made
//! once and kept beside the stack, and what describes them is computed when it is asked for. Both
//! descriptions are spoken: Docker's ("Image Manifest V 2, Schema 2") and OCI's ("OCI Distribution
//! Specification" 1.1, the category "pull").

mod access;
mod blobs;
mod error;
mod form;
mod image;
mod manifests;
mod reference;
mod span;

use crate::services::Services;
use axum::Router;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{any, get};

/// The digest of what is answered.
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Paths `/v2/…`, for the API's server.
pub fn router(services: Services) -> Router {
    Router::new()
        .route("/v2/", get(access::ping))
        .route("/v2/{app}/manifests/{reference}", get(manifests::show).fallback(error::pull_only))
        .route("/v2/{app}/blobs/{digest}", get(blobs::show).fallback(error::pull_only))
        .route("/v2/{app}/blobs/uploads/", any(error::pull_only))
        .layer(map_response(signed))
        .with_state(services)
}

/// By this header clients know a registry.
async fn signed(mut response: Response) -> Response {
    response.headers_mut().insert(VERSION, HeaderValue::from_static("registry/2.0"));
    response
}
