//! Source archives: a place to put one, and the way from a URL to a file for the builder.

use super::access::{AppAccess, Caller};
use super::context::Context;
use super::error::ApiError;
use crate::state::sources;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// For a source archive that lies somewhere else.
const FETCH_TIMEOUT: Duration = Duration::from_secs(90);

pub(super) async fn create(
    State(context): State<Context>,
    _: Caller,
) -> Result<Response, ApiError> {
    make(&context, None).await
}

pub(super) async fn create_for_app(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Response, ApiError> {
    make(&context, Some(access.app.id)).await
}

async fn make(context: &Context, app: Option<String>) -> Result<Response, ApiError> {
    let secret =
        context.services.store.write(move |tx| sources::create(tx, app.as_deref())).await?;
    let url = context.url(&format!("/sources/{secret}"));
    let body = json!({"source_blob": {"get_url": url, "put_url": url}});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

fn path(context: &Context, secret: &str) -> PathBuf {
    context.services.config.data.join("sources").join(secret)
}

/// The secret is looked up before it becomes a file name: only names made here are used.
async fn known(context: &Context, secret: String) -> Result<PathBuf, ApiError> {
    let asked = secret.clone();
    match context.services.store.read(move |tx| sources::exists(tx, &asked)).await? {
        true => Ok(path(context, &secret)),
        false => Err(ApiError::not_found("source")),
    }
}

/// Takes the archive in; a second upload replaces the first.
pub(super) async fn upload(
    State(context): State<Context>,
    Path(secret): Path<String>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let path = known(&context, secret).await?;
    let max = context.services.config.push.max_bytes;
    let part = path.with_extension("part");
    let stored = store(request.into_body(), &part, max).await;
    if stored.is_err() {
        drop(tokio::fs::remove_file(&part).await);
    }
    stored?;
    tokio::fs::rename(&part, &path).await.map_err(|error| ApiError::internal(&error))?;
    Ok(StatusCode::OK)
}

async fn store(mut body: Body, part: &std::path::Path, max: u64) -> Result<(), ApiError> {
    let failed = |error: std::io::Error| ApiError::internal(&error);
    let mut file = tokio::fs::File::create(part).await.map_err(failed)?;
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::bad_request("The upload broke off."))?;
        let Ok(piece) = frame.into_data() else { continue };
        bytes += piece.len() as u64;
        if bytes > max {
            return Err(ApiError::too_large(max));
        }
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.sync_all().await.map_err(failed)
}

pub(super) async fn download(
    State(context): State<Context>,
    Path(secret): Path<String>,
) -> Result<Response, ApiError> {
    let path = known(&context, secret).await?;
    let file = tokio::fs::File::open(path).await.map_err(|_| ApiError::not_found("source"))?;
    Ok(Body::from_stream(tokio_util::io::ReaderStream::new(file)).into_response())
}

/// An archive on disk for as long as a build needs it.
#[derive(Debug)]
pub(super) struct Fetched {
    path: PathBuf,
    /// Removed at the end: it was fetched for this build alone.
    temporary: bool,
}

impl Fetched {
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// One of our own sources is used where it lies; anything else is fetched.
    pub(super) async fn of(context: &Context, url: &str) -> Result<Self, ApiError> {
        if let Some(secret) = url.strip_prefix(&context.url("/sources/")) {
            let path = known(context, secret.to_owned()).await?;
            if !path.exists() {
                return Err(ApiError::invalid("Nothing was uploaded to that source yet"));
            }
            return Ok(Self { path, temporary: false });
        }
        if !url.starts_with("https://") {
            return Err(ApiError::invalid(
                "source_blob.url must be https, or a source of this server",
            ));
        }
        let fetched =
            Self { path: path(context, &uuid::Uuid::new_v4().to_string()), temporary: true };
        fetch(context, url, &fetched.path).await?;
        Ok(fetched)
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        if self.temporary {
            // Half-fetched or used up: nobody looks for it again.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// By curl: it speaks every proxy and certificate store of the host. HTTPS only, no redirect to
/// anything else, bounded in size and time.
async fn fetch(context: &Context, url: &str, to: &std::path::Path) -> Result<(), ApiError> {
    let max = context.services.config.push.max_bytes;
    let fetched = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--location", "--proto", "=https"])
        .args(["--max-redirs", "5", "--max-filesize", &max.to_string()])
        .args(["--max-time", &FETCH_TIMEOUT.as_secs().to_string(), "--output"])
        .arg(to)
        .args(["--", url])
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| ApiError::internal(&error))?;
    if fetched.status.success() {
        return Ok(());
    }
    let reason: String =
        String::from_utf8_lossy(&fetched.stderr).trim().chars().take(300).collect();
    Err(ApiError::invalid(format!("The source could not be fetched: {reason}")))
}
