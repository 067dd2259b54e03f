//! Builds by API: from a source archive, with the same builder as a push.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::page::page;
use super::segments::Segments;
use super::sources::Fetched;
use super::{account, apps, inputs};
use crate::build::{self, BuildError, Follower, Request};
use crate::stack;
use crate::state::model::{App, Build};
use crate::state::{StateError, builds};
use axum::Json;
use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use lathe_logs::Source;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use tokio_util::sync::CancellationToken;

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = access.app.id.clone();
    let all = context.services.store.read(move |tx| builds::all(tx, &id)).await?;
    let items = all.iter().map(|build| show_build(&context, &access.app, build)).collect();
    page(&headers, &["created_at", "id", "started_at"], items)
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (app, id) = (access.app.id.clone(), access.parameter("build"));
    let build = context.services.store.read(move |tx| builds::by_id(tx, &app, &id)).await?;
    Ok(Json(show_build(&context, &access.app, &build)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Create {
    source_blob: SourceBlob,
    buildpacks: Option<Vec<Buildpack>>,
}

#[derive(Debug, Deserialize)]
struct SourceBlob {
    url: String,
    version: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Buildpack {
    url: Option<String>,
    name: Option<String>,
}

/// Answers as soon as the build has begun; `output_stream_url` tells the rest.
pub(super) async fn create(
    State(context): State<Context>,
    access: AppAccess,
    Body(create): Body<Create>,
) -> Result<Response, ApiError> {
    let archive = Fetched::of(&context, &create.source_blob.url).await?;
    let chosen = create.buildpacks.filter(|list| !list.is_empty());
    let request = Request {
        app: access.app.clone(),
        account: access.account.clone(),
        source: build::Source::Archive(archive.path().to_owned()),
        source_version: create.source_blob.version.unwrap_or_default(),
        buildpacks: chosen
            .map(|list| list.into_iter().filter_map(|one| one.url.or(one.name)).collect()),
    };
    let cancel = CancellationToken::new();
    let running = context.builder.begin(request, cancel.clone()).await.map_err(refusal)?;
    let shown = show_build(&context, &access.app, &running.build);
    context.cancels.add(&running.build.id, cancel);
    let (cancels, id) = (context.cancels.clone(), running.build.id.clone());
    tokio::spawn(async move {
        // Its outcome is in the state and in the transcript; here it only bounds two lives.
        drop(running.ended().await);
        drop(archive);
        cancels.remove(&id);
    });
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// What buildpacks have kept for the app's next build, and their own copies, are gone. A build that
/// runs goes on with what it has, and leaves nothing.
pub(super) async fn purge_cache(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<StatusCode, ApiError> {
    let disk = build::cache_of(&context.services.config.data, &access.app.id);
    match tokio::fs::remove_file(&disk).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ApiError::internal(&error));
        }
        _ => {}
    }
    let line = format!("Build cache purged by user {}", access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
    Ok(StatusCode::NO_CONTENT)
}

fn refusal(error: BuildError) -> ApiError {
    match error {
        BuildError::Begin(StateError::Refused(message)) => ApiError::conflict(message),
        BuildError::Begin(error) => error.into(),
        other => ApiError::internal(&other),
    }
}

/// Ends a build that was begun by API and still runs.
pub(super) async fn cancel(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (app, id) = (access.app.id.clone(), access.parameter("build"));
    let build = context.services.store.read(move |tx| builds::by_id(tx, &app, &id)).await?;
    if !context.cancels.cancel(&build.id) {
        return Err(ApiError::invalid(
            "That build does not run, or was begun by a push: interrupt the push",
        ));
    }
    Ok(Json(show_build(&context, &access.app, &build)))
}

/// The transcript, live while the build runs. The URL carries its own secret.
pub(super) async fn output(
    State(context): State<Context>,
    Segments((app, build, secret)): Segments<(String, String, String)>,
) -> Result<Response, ApiError> {
    let build = context.services.store.read(move |tx| builds::by_id(tx, &app, &build)).await?;
    if build.output_token != secret {
        return Err(ApiError::not_found("build"));
    }
    let follower = context.builder.transcripts().follow(&build.id);
    let follower = follower.ok_or_else(|| ApiError::not_found("build output"))?;
    let body = Stream::from_stream(pieces(follower));
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

fn pieces(
    follower: Follower,
) -> impl futures_util::Stream<Item = Result<bytes::Bytes, Infallible>> + Send {
    futures_util::stream::unfold(follower, |mut follower| async move {
        follower.next().await.map(|piece| (Ok(piece), follower))
    })
}

fn show_build(context: &Context, app: &App, build: &Build) -> Value {
    let path = format!("/apps/{}/builds/{}/output/{}", app.id, build.id, build.output_token);
    let buildpacks: Vec<Value> = build.buildpacks.iter().map(inputs::show_buildpack).collect();
    json!({
        "id": build.id,
        "app": apps::brief(app),
        "buildpacks": buildpacks,
        "output_stream_url": context.url(&path),
        "source_blob": {
            "checksum": null,
            "url": "",
            "version": build.source_version,
            "version_description": null,
        },
        "release": build.release.as_ref().map(|id| json!({"id": id})),
        "slug": build.slug.as_ref().map(|id| json!({"id": id})),
        "stack": stack::RUN,
        "status": build.status.as_str(),
        "user": account::brief(&build.account),
        "created_at": build.created_at,
        "updated_at": build.updated_at,
    })
}
