//! JSON that callers send: bounded, and refused with a reason.

use super::error::ApiError;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// For all of it: a place for a connection is not to be had for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// A JSON object; an empty body reads as `{}`, because some clients send nothing for no options.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read(request).await?;
        let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
        if std::str::from_utf8(&bytes).is_err() {
            return Err(ApiError::bad_request("The request body has to be UTF-8."));
        }
        // Without this, a list would be taken for the fields of an object in their order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(ApiError::bad_request("The request body has to be a JSON object."));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            ApiError::bad_request(format!("The request body is not as expected: {error}"))
        })
    }
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    let limited = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let Ok(collected) = timeout(BODY_TIMEOUT, limited.collect()).await else {
        return Err(ApiError::bad_request("The request body did not arrive in time."));
    };
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large(BODY_BYTES_MAX as u64))
        }
        Err(_) => Err(ApiError::bad_request("The request body did not arrive whole.")),
    }
}

/// The next piece of an upload, none at its end. Who sends nothing for `idle` has gone.
pub(super) async fn next_piece(
    upload: &mut axum::body::Body,
    idle: Duration,
) -> Result<Option<Bytes>, ApiError> {
    loop {
        let frame = timeout(idle, upload.frame()).await.ok();
        let frame = frame.ok_or_else(|| ApiError::bad_request("Nothing came for too long."))?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|_| ApiError::bad_request("The upload broke off."))?;
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
    }
}
