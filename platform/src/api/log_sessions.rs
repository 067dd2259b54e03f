//! Log sessions: an address with its own secret, from which an app's lines can be read for a while.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::segments::Segments;
use crate::state::{StateError, Store};
use axum::Json;
use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jiff::Timestamp;
use lathe_logs::{AppId, Cursor, Filter, Source, Tail, human, sse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;
use uuid::Uuid;

/// From making a session to its last use; clients that follow re-connect within it.
const EXPIRY: Duration = Duration::from_hours(1);
const KEEPALIVE: Duration = Duration::from_secs(10);
const LINES_DEFAULT: usize = 100;
const LINES_MAX: usize = 1500;
/// No dyno has a longer name.
const DYNO_BYTES_MAX: usize = 128;

/// What the key that seals sessions seals them for; no app's id.
const SEALED_FOR: &str = "log session";

/// What an address lets read. It is sealed into the address itself: nobody can make one up, and a
/// reader that comes back after an upgrade goes on where it was.
#[derive(Debug, Serialize, Deserialize)]
struct Session {
    app: AppId,
    source: Option<Source>,
    process: Option<String>,
    lines: usize,
    follow: bool,
    until: Timestamp,
}

impl Session {
    async fn seal(self, store: &Store) -> Result<String, StateError> {
        let sealed = store.read(move |tx| {
            // A structure of texts and numbers is always written.
            let session = serde_json::to_vec(&self).unwrap_or_default();
            Ok(tx.secrets.seal(SEALED_FOR, &session))
        });
        Ok(URL_SAFE_NO_PAD.encode(sealed.await?))
    }

    /// None for an address that we have not made, or that is too old.
    async fn open(secret: &str, store: &Store, now: Timestamp) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(secret).ok()?;
        let session =
            store.read(move |tx| tx.secrets.open_sealed(SEALED_FOR, &sealed)).await.ok()?;
        serde_json::from_slice(&session).ok().filter(|session: &Self| session.until > now)
    }
}

/// Old and new names of the same wishes.
#[derive(Debug, Deserialize)]
pub(super) struct Create {
    lines: Option<usize>,
    #[serde(default)]
    tail: bool,
    source: Option<String>,
    #[serde(alias = "dyno_name", alias = "type")]
    dyno: Option<String>,
}

pub(super) async fn create(
    State(context): State<Context>,
    access: AppAccess,
    Body(create): Body<Create>,
) -> Result<Response, ApiError> {
    let source = match create.source.as_deref() {
        None | Some("") => None,
        Some("app") => Some(Source::App),
        Some("heroku") => Some(Source::Heroku),
        Some(_) => return Err(ApiError::invalid("source is app or heroku")),
    };
    let process = create.dyno.filter(|dyno| !dyno.is_empty());
    if process.as_ref().is_some_and(|name| name.len() > DYNO_BYTES_MAX) {
        return Err(ApiError::invalid("dyno is the name of a dyno or of a process type"));
    }
    let session = Session {
        app: AppId::new(&access.app.id),
        source,
        process,
        lines: create.lines.unwrap_or(LINES_DEFAULT).min(LINES_MAX),
        follow: create.tail,
        until: Timestamp::now() + EXPIRY,
    };
    let secret = session.seal(&context.services.store).await?;
    let created = Timestamp::now();
    let body = json!({
        "id": Uuid::new_v4(),
        "logplex_url": context.url(&format!("/log-sessions/{secret}")),
        "created_at": created,
        "updated_at": created,
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Server-sent events for those who ask for them, lines of text for others. Without `tail` it ends
/// after the backlog; with it, it goes on after `Last-Event-ID` when a client comes back.
pub(super) async fn stream(
    State(context): State<Context>,
    Segments(secret): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let session = Session::open(&secret, &context.services.store, Timestamp::now()).await;
    let session = session.ok_or_else(|| ApiError::not_found("log session"))?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let filter = Filter {
        source: session.source,
        process: session.process,
        lines: session.lines,
        after: last.and_then(|text| text.parse().ok()).map(Cursor),
    };
    let tail = context.services.hub.tail(&session.app, filter, session.follow).map_err(|_| {
        ApiError::conflict("Too many log sessions of this app are open; close one.")
    })?;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let events = accept.contains("text/event-stream");
    let media = if events { "text/event-stream" } else { "application/logplex-1" };
    let headers = [(CONTENT_TYPE, media), (CACHE_CONTROL, "no-cache")];
    Ok((headers, Stream::from_stream(pieces(tail, events))).into_response())
}

fn pieces(
    tail: Tail,
    events: bool,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send {
    futures_util::stream::unfold(tail, move |mut tail| async move {
        let piece = match tokio::time::timeout(KEEPALIVE, tail.next()).await {
            Ok(None) => return None,
            Ok(Some(entry)) if events => sse::event(&entry),
            Ok(Some(entry)) => human(&entry.line) + "\n",
            // Nothing was said: the connection shows that it lives. Text has no comments, and an
            // empty piece keeps nothing open but harms nothing either.
            Err(_) if events => sse::KEEPALIVE.to_owned(),
            Err(_) => String::new(),
        };
        Some((Ok(Bytes::from(piece)), tail))
    })
}
