//! The slug API: a slug made elsewhere is described, uploaded, and released.

use super::access::AppAccess;
use super::body::{Body, next_piece};
use super::catalogue;
use super::context::Context;
use super::error::ApiError;
use super::inputs;
use super::segments::Segments;
use super::sources;
use super::uploads::Purpose;
use crate::causes::causes;
use crate::state::model::Slug;
use crate::state::slugs::{self, NewSlug};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use lathe_slug::{Manifest, Procfile, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Pieces of an upload on their way to the disk.
const PIECES_MAX: usize = 16;

#[derive(Debug, Deserialize)]
pub(super) struct Create {
    process_types: BTreeMap<String, String>,
    commit: Option<String>,
    /// `SHA256:<hex>`: when given, the upload has to match it.
    checksum: Option<String>,
}

pub(super) async fn create(
    State(context): State<Context>,
    access: AppAccess,
    Body(create): Body<Create>,
) -> Result<Response, ApiError> {
    let process_types = process_types(&create.process_types)?;
    let new = NewSlug {
        digest: None,
        diff_id: None,
        bytes: 0,
        commit: create.commit,
        stack: context.services.stacks.run.digest.clone(),
        process_types,
        buildpacks: Vec::new(),
        config_defaults: BTreeMap::new(),
        inputs: None,
    };
    let app = access.app.id;
    let purpose = Purpose::Upload { checksum: create.checksum };
    let slug = context.services.store.write(move |tx| slugs::insert(tx, &app, &new)).await?;
    let secret = context.uploads.add(&slug, purpose);
    let shown = show_slug(&context, &slug, "put", &secret);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// The rules of a Procfile hold for every slug, however it came about.
fn process_types(asked: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, ApiError> {
    if asked.iter().any(|(name, command)| (name.clone() + command).contains(char::is_control)) {
        return Err(ApiError::invalid("process_types are names and command lines"));
    }
    let lines: Vec<String> =
        asked.iter().map(|(name, command)| format!("{name}: {command}")).collect();
    let procfile = Procfile::parse(lines.join("\n").as_bytes());
    let procfile = procfile.map_err(|error| ApiError::invalid(error.to_string()))?;
    let processes = procfile.processes();
    if processes.len() != asked.len() {
        return Err(ApiError::invalid("each process type needs a name and a command line"));
    }
    Ok(processes.map(|(name, command)| (name.to_owned(), command.to_owned())).collect())
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (app, id) = (access.app.id.clone(), access.parameter("slug"));
    let slug = context.services.store.read(move |tx| slugs::by_id(tx, &app, &id)).await?;
    let secret = context.uploads.add(&slug, Purpose::Download);
    Ok(Json(show_slug(&context, &slug, "get", &secret)))
}

/// Takes the blob in: checked, stored durably, and only then recorded.
pub(super) async fn upload(
    State(context): State<Context>,
    Segments((id, secret)): Segments<(String, String)>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let ticket = context.uploads.get(&id, &secret).ok_or_else(|| ApiError::not_found("slug"))?;
    let Purpose::Upload { checksum } = ticket.purpose else {
        return Err(ApiError::not_found("slug"));
    };
    let manifest = store(&context, request).await?;
    if let Some(expected) = checksum {
        let actual = format!("SHA256:{}", manifest.id);
        if !expected.eq_ignore_ascii_case(&actual) {
            return Err(ApiError::invalid(format!(
                "Checksum does not match expected value. Expected: {expected} Actual: {actual}"
            )));
        }
    }
    context
        .services
        .store
        .write(move |tx| {
            slugs::set_blob(tx, &ticket.app, &id, manifest.id, manifest.diff_id, manifest.bytes)
        })
        .await?;
    Ok(StatusCode::OK)
}

/// From the network into the store, which works on a thread of its own, by a bounded queue.
async fn store(context: &Context, request: Request) -> Result<Manifest, ApiError> {
    let (pieces, mut queue) = mpsc::channel::<Bytes>(PIECES_MAX);
    let slugs = context.services.slugs.clone();
    let writer = tokio::task::spawn_blocking(move || {
        let mut incoming = slugs.begin()?;
        while let Some(piece) = queue.blocking_recv() {
            incoming.append(&piece)?;
        }
        Ok(incoming)
    });
    let mut body = request.into_body();
    while let Some(piece) = next_piece(&mut body, context.services.config.push.idle).await? {
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let refused = |error: StoreError| {
        ApiError::invalid(format!("The slug was not taken: {}", causes(&error)))
    };
    let incoming = writer.await.map_err(|error| ApiError::internal(&error))?.map_err(refused)?;
    let committed = tokio::task::spawn_blocking(move || incoming.commit()).await;
    committed.map_err(|error| ApiError::internal(&error))?.map_err(refused)
}

pub(super) async fn download(
    State(context): State<Context>,
    Segments((id, secret)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let ticket = context.uploads.get(&id, &secret).ok_or_else(|| ApiError::not_found("slug"))?;
    let slug = context.services.store.read(move |tx| slugs::by_id(tx, &ticket.app, &id)).await?;
    let digest = slug.digest.ok_or_else(|| ApiError::not_found("slug"))?;
    let path = context.services.slugs.path(&digest);
    sources::send(&path).await.map_err(|error| ApiError::internal(&error))
}

fn show_slug(context: &Context, slug: &Slug, method: &str, secret: &str) -> Value {
    let types: BTreeMap<_, _> = slug.process_types.iter().cloned().collect();
    json!({
        "id": slug.id,
        "blob": {"method": method, "url": context.url(&format!("/slugs/{}/{secret}", slug.id))},
        "buildpack_provided_description": null,
        "checksum": slug.digest.map(|digest| format!("SHA256:{digest}")),
        "commit": slug.commit,
        "inputs": inputs::show(slug),
        "commit_description": null,
        "process_types": types,
        "size": slug.digest.map(|_| slug.bytes),
        "stack": catalogue::stack(),
        "created_at": slug.created_at,
        "updated_at": slug.created_at,
    })
}
