//! A release built once more and held against what it was: the answer is a stream of JSON lines.

use super::access::AppAccess;
use super::context::Context;
use super::error::ApiError;
use crate::build::{BuildError, Original, Rebuilding};
use crate::git;
use crate::state::{StateError, releases};
use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use lathe_slug::SlugId;
use serde_json::{Value, json};
use std::convert::Infallible;

/// What the build says as `{"output"}`, then `{"slug", "rebuilt"}`, or `{"failed"}` when it did not
/// come to a slug. Whoever stops reading ends it.
pub(super) async fn create(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Response, ApiError> {
    let (app, identity) = (access.app.clone(), access.parameter("release"));
    let repo = git::path_of(&context.services.config.data, &app.id);
    let found = context.services.store.read(move |tx| {
        let release = releases::by_identity(tx, &app.id, &identity)?;
        let slug = release.slug.ok_or_else(|| no_slug(release.version))?;
        let digest = slug.digest.ok_or_else(|| no_slug(release.version))?;
        let config = releases::config_of_build(tx, &app.id, &slug.id)?;
        Ok((digest, Original { app, slug, config, repo }))
    });
    let (digest, original) = found.await?;
    let rebuilding = context.builder.rebuild(original).map_err(|error| refusal(&error))?;
    let body = Stream::from_stream(lines(rebuilding, digest));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn no_slug(version: u32) -> StateError {
    StateError::Refused(format!("Release v{version} has no slug to build again"))
}

fn refusal(error: &BuildError) -> ApiError {
    match error {
        BuildError::NotAgain { .. } => ApiError::invalid(error.explain().join(" ")),
        other => ApiError::internal(other),
    }
}

fn lines(
    rebuilding: Rebuilding,
    was: SlugId,
) -> impl stream::Stream<Item = Result<Bytes, Infallible>> + Send {
    let said = stream::unfold(Some(rebuilding), move |rebuilding| async move {
        let mut rebuilding = rebuilding?;
        if let Some(piece) = rebuilding.output.next().await {
            return Some((json!({"output": String::from_utf8_lossy(&piece)}), Some(rebuilding)));
        }
        let end = match rebuilding.ended().await {
            Ok(manifest) => json!({"slug": was, "rebuilt": manifest.id}),
            Err(error) => json!({"failed": error.to_string()}),
        };
        Some((end, None))
    });
    said.map(|line: Value| Ok(Bytes::from(format!("{line}\n"))))
}
