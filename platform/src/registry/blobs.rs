//! Blobs: slugs as they are stored, layers of stacks, and the configurations of images.

use super::access::Pull;
use super::error::RegistryError;
use super::image::Image;
use super::manifests::of_app;
use super::reference;
use super::span::Span;
use crate::services::Services;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::io::SeekFrom;
use std::path::PathBuf;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Of a file, read at once: each is a trip to another thread.
const PIECE: usize = 256 * 1024;

/// Where a blob's bytes are.
enum Content {
    File(PathBuf),
    Memory(Vec<u8>),
}

pub(super) async fn show(
    State(services): State<Services>,
    pull: Pull,
    Path((_, digest)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, RegistryError> {
    let hex = reference::digest(&digest).ok_or(RegistryError::NoBlob)?;
    let content = find(&services, pull, hex).await?.ok_or(RegistryError::NoBlob)?;
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (bytes, span, body) = match content {
        Content::Memory(content) => cut(content, range),
        Content::File(path) => read(path, range).await.map_err(RegistryError::Read)?,
    };
    let about = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, format!("\"{digest}\"")),
        (super::DIGEST, digest),
    ];
    match span {
        Span::Outside => Err(RegistryError::Range { bytes }),
        Span::All => Ok((about, [(header::CONTENT_LENGTH, bytes)], body).into_response()),
        Span::Part { first, last } => {
            let part = [
                (header::CONTENT_RANGE, format!("bytes {first}-{last}/{bytes}")),
                (header::CONTENT_LENGTH, (last - first + 1).to_string()),
            ];
            Ok((StatusCode::PARTIAL_CONTENT, about, part, body).into_response())
        }
    }
}

/// What the app's images are made of; nobody else's, though it be stored.
async fn find(
    services: &Services,
    pull: Pull,
    digest: &str,
) -> Result<Option<Content>, RegistryError> {
    for (slug, layer) in of_app(services, pull.app).await? {
        if layer.digest == digest {
            return Ok(Some(Content::File(layer.path)));
        }
        if let Some(own) = slug.digest.filter(|own| own.to_string() == digest) {
            return Ok(Some(Content::File(services.slugs.path(&own))));
        }
        if let Some(config) = Image::of(&slug, &layer).map(|image| image.config())
            && config.digest == digest
        {
            return Ok(Some(Content::Memory(config.bytes)));
        }
    }
    Ok(None)
}

fn cut(content: Vec<u8>, range: Option<&str>) -> (u64, Span, Body) {
    let bytes = content.len() as u64;
    let span = Span::of(range, bytes);
    let content = Bytes::from(content);
    let body = match span {
        Span::All => content,
        Span::Outside => Bytes::new(),
        Span::Part { first, last } => {
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            content.slice(place(first)..=place(last))
        }
    };
    (bytes, span, Body::from(body))
}

async fn read(path: PathBuf, range: Option<&str>) -> std::io::Result<(u64, Span, Body)> {
    let mut file = File::open(path).await?;
    let bytes = file.metadata().await?.len();
    let span = Span::of(range, bytes);
    let (first, count) = match span {
        Span::All => (0, bytes),
        Span::Outside => (0, 0),
        Span::Part { first, last } => (first, last - first + 1),
    };
    file.seek(SeekFrom::Start(first)).await?;
    Ok((bytes, span, Body::from_stream(ReaderStream::with_capacity(file.take(count), PIECE))))
}
