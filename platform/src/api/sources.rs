//! Source archives: a place to put one, and the way from a URL to a file for the builder.

use super::access::{AppAccess, Caller};
use super::body::next_piece;
use super::context::Context;
use super::error::ApiError;
use super::fetch::{Limits, fetch};
use super::segments::Segments;
use crate::config::Config;
use crate::host::disk::Floor;
use crate::state::sources;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::response::{IntoResponse, Response};
use lathe_logs::drain::Reach;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

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
    if context.services.store.read(move |tx| sources::exists(tx, &asked)).await? {
        return Ok(path(context, &secret));
    }
    Err(ApiError::not_found("source"))
}

/// Takes the archive in; a second upload replaces the first.
pub(super) async fn upload(
    State(context): State<Context>,
    Segments(secret): Segments<String>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let path = known(&context, secret).await?;
    let bounds = Bounds::of(&context.services.config);
    bounds.floor.check()?;
    // Two uploads at once do not write into each other; the later one to end counts.
    let part = path.with_extension(uuid::Uuid::new_v4().to_string());
    let stored = store(request.into_body(), &part, &bounds).await;
    if stored.is_err() {
        drop(tokio::fs::remove_file(&part).await);
    }
    stored?;
    tokio::fs::rename(&part, &path).await.map_err(|error| ApiError::internal(&error))?;
    Ok(StatusCode::OK)
}

/// What an archive may be, and take.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    /// Of the disk that it comes to.
    pub(super) floor: Floor,
    /// For which nothing of it may come.
    pub(super) idle: Duration,
}

impl Bounds {
    fn of(config: &Config) -> Self {
        Self { bytes_max: config.push.max_bytes, floor: Floor::of(config), idle: config.push.idle }
    }
}

/// Writes a body to a file within the bounds, and syncs it.
pub(super) async fn store(mut body: Body, part: &Path, bounds: &Bounds) -> Result<(), ApiError> {
    let failed = |error: std::io::Error| ApiError::internal(&error);
    let mut file = File::create(part).await.map_err(failed)?;
    let (mut bytes, mut floor) = (0_u64, bounds.floor.clone());
    while let Some(piece) = next_piece(&mut body, bounds.idle).await? {
        bytes += piece.len() as u64;
        if bytes > bounds.bytes_max {
            return Err(ApiError::too_large(bounds.bytes_max));
        }
        floor.watch(bytes)?;
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.sync_all().await.map_err(failed)
}

pub(super) async fn download(
    State(context): State<Context>,
    Segments(secret): Segments<String>,
) -> Result<Response, ApiError> {
    let path = known(&context, secret).await?;
    send(&path).await.map_err(|_| ApiError::not_found("source"))
}

/// A file as an answer, with its length, so that a client sees when it was cut off.
pub(super) async fn send(path: &Path) -> std::io::Result<Response> {
    let file = File::open(path).await?;
    let bytes = file.metadata().await?.len();
    let body = Body::from_stream(ReaderStream::new(file));
    Ok(([(CONTENT_LENGTH, bytes)], body).into_response())
}

/// An archive on disk for as long as a build needs it.
#[derive(Debug)]
pub(super) struct Fetched {
    path: PathBuf,
    /// Removed at the end: it was fetched for this build alone.
    temporary: bool,
}

impl Fetched {
    pub(super) fn path(&self) -> &Path {
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
        let config = &context.services.config;
        let bounds = Bounds::of(config);
        bounds.floor.check()?;
        let fetched =
            Self { path: path(context, &uuid::Uuid::new_v4().to_string()), temporary: true };
        let limits =
            Limits { bounds, reach: Reach::default(), roots: config.build.ca_bundle.as_deref() };
        fetch(&limits, url, &fetched.path).await?;
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
