//! Log sessions: an address with its own secret, from which an app's lines can be read once.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::segments::Segments;
use crate::state::secrets::random_token;
use axum::Json;
use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::Timestamp;
use lathe_logs::{AppId, Cursor, Filter, Source, Tail, human, sse};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Sessions kept at once; the oldest give way.
const SESSIONS_MAX: usize = 10_000;
/// From making a session to its last use; clients that follow re-connect within it.
const EXPIRY: Duration = Duration::from_hours(1);
const KEEPALIVE: Duration = Duration::from_secs(10);
const LINES_DEFAULT: usize = 100;
const LINES_MAX: usize = 1500;

/// Sessions that were made and may be read.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<String, Session>>,
}

#[derive(Clone, Debug)]
struct Session {
    app: AppId,
    filter: Filter,
    follow: bool,
    until: Instant,
}

impl Sessions {
    fn add(&self, session: Session, now: Instant) -> String {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| session.until > now);
        if open.len() >= SESSIONS_MAX {
            let oldest = open.iter().min_by_key(|(_, session)| session.until);
            if let Some(secret) = oldest.map(|(secret, _)| secret.clone()) {
                open.remove(&secret);
            }
        }
        let secret = random_token("");
        open.insert(secret.clone(), session);
        secret
    }

    fn get(&self, secret: &str, now: Instant) -> Option<Session> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(secret).filter(|session| session.until > now).cloned()
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
    let filter = Filter {
        source,
        process: create.dyno.filter(|dyno| !dyno.is_empty()),
        lines: create.lines.unwrap_or(LINES_DEFAULT).min(LINES_MAX),
        after: None,
    };
    let now = Instant::now();
    let session = Session {
        app: AppId::new(&access.app.id),
        filter,
        follow: create.tail,
        until: now + EXPIRY,
    };
    let secret = context.sessions.add(session, now);
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
    let session = context.sessions.get(&secret, Instant::now());
    let mut session = session.ok_or_else(|| ApiError::not_found("log session"))?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    session.filter.after = last.and_then(|text| text.parse().ok()).map(Cursor);
    let tail =
        context.services.hub.tail(&session.app, session.filter, session.follow).map_err(|_| {
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
