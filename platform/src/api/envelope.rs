//! What surrounds every answer: request id, version check, rate limit, entity tag.

use super::access::Caller;
use super::context::Context;
use super::error::ApiError;
use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use std::time::Instant;
use tracing::Instrument;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");

/// Outermost: names the request, refuses other versions, tags the answer.
pub(super) async fn wrap(request: Request, next: Next) -> Response {
    let id = Uuid::new_v4().to_string();
    let asked = request.headers().clone();
    let is_get = request.method() == Method::GET;
    // The route and not the path: a path may hold the secret of an upload or a drain's password.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!("request", id, method = %request.method(), route);
    let response = if speaks_version_3(&asked) {
        next.run(request).instrument(span).await
    } else {
        ApiError::not_acceptable().into_response()
    };
    let mut response = if is_get { tagged(response, &asked).await } else { response };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Only a clearly other version is refused: variants such as `version=3.sdk` are version 3, and
/// clients that ask for anything get the only one there is.
fn speaks_version_3(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match accept.split_once("version=") {
        None => true,
        Some((_, version)) => {
            let number: String = version.chars().take_while(char::is_ascii_digit).collect();
            number == "3"
        }
    }
}

/// Adds an entity tag to a JSON answer, and answers 304 when the client has it already.
async fn tagged(response: Response, asked: &HeaderMap) -> Response {
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if !is_json || !response.status().is_success() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // JSON answers are made in memory: collecting one copies nothing and cannot fail.
    let Ok(body) = body.collect().await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let bytes = body.to_bytes();
    let digest = Sha256::digest(&bytes);
    let tag =
        digest[..16].iter().fold("\"".to_owned(), |tag, byte| tag + &format!("{byte:02x}")) + "\"";
    let known = asked.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(ETAG, tag);
    }
    if unchanged {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(CONTENT_TYPE);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// Spends the caller's budget. Requests without a valid token have none to spend; their handlers
/// refuse them.
pub(super) async fn limit(
    State(context): State<Context>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(caller) = Caller::from_request_parts(&mut parts, &context).await else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let Some(left) = context.rates.spend(&caller.account.id, Instant::now()) else {
        let mut response = ApiError::rate_limited().into_response();
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
        response.headers_mut().insert(RATE_REMAINING, HeaderValue::from(0));
        return response;
    };
    parts.extensions.insert(caller);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    response.headers_mut().insert(RATE_REMAINING, HeaderValue::from(left));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_version_is_refused() {
        let cases = [
            ("application/vnd.heroku+json; version=3", true),
            ("application/vnd.heroku+json; version=3.sdk", true),
            ("application/vnd.heroku+json; version=3.cedar-acm", true),
            ("*/*", true),
            ("application/json", true),
            ("application/vnd.heroku+json; version=2", false),
            ("application/vnd.heroku+json; version=33", false),
        ];
        for (accept, expected) in cases {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(speaks_version_3(&headers), expected, "{accept}");
        }
        assert!(speaks_version_3(&HeaderMap::new()));
    }
}
