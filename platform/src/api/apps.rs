//! Apps: made, shown, renamed, put into maintenance, destroyed.

use super::access::{AppAccess, Caller};
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::page::page;
use super::segments::Segments;
use super::{account, catalogue};
use crate::stack;
use crate::state::model::{Account, App, Release};
use crate::state::{StateError, Tx, apps, buildpacks, releases};
use crate::{build, git};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use lathe_logs::{AppId, Source};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the Heroku CLI shows for an app beyond its row.
pub(super) struct Details {
    app: App,
    release: Option<Release>,
    pinned: bool,
}

impl Details {
    pub(super) fn read(tx: &Tx<'_>, app: App) -> Result<Self, StateError> {
        let release = app.current.map(|version| releases::by_version(tx, &app.id, version));
        let pinned = !buildpacks::of_app(tx, &app.id)?.is_empty();
        Ok(Self { release: release.transpose()?, pinned, app })
    }
}

pub(super) async fn list(
    State(context): State<Context>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let account = caller.account.id;
    let details = context
        .services
        .store
        .read(move |tx| {
            let apps = apps::visible_to(tx, &account)?;
            apps.into_iter().map(|app| Details::read(tx, app)).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let items = details.iter().map(|details| show_app(&context, details)).collect();
    page(&headers, &["name", "id", "updated_at"], items)
}

pub(super) async fn list_of_user(
    context: State<Context>,
    caller: Caller,
    Segments(user): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.is(&user)?;
    list(context, caller, headers).await
}

#[derive(Debug, Deserialize)]
pub(super) struct Create {
    name: Option<String>,
}

pub(super) async fn create(
    State(context): State<Context>,
    caller: Caller,
    Body(create): Body<Create>,
) -> Result<Response, ApiError> {
    let account = caller.account;
    let name = create.name.unwrap_or_else(random_name);
    let app = make(&context, account, name).await?;
    context.services.say(
        &app.id,
        Source::App,
        "api",
        &format!("Initial release by user {}", app.owner.email),
    );
    let details = Details { app, release: None, pinned: false };
    Ok((StatusCode::CREATED, Json(show_app(&context, &details))).into_response())
}

async fn make(context: &Context, account: Account, name: String) -> Result<App, ApiError> {
    let made = context
        .services
        .store
        .write(move |tx| {
            let app = apps::create(tx, &name, &account)?;
            let change = releases::Change {
                description: "Initial release".into(),
                slug: None,
                config: None,
            };
            releases::append(tx, &app, &account, change)?;
            apps::by_id(tx, &app.id)
        })
        .await?;
    Ok(made)
}

/// Two words and a number, as Heroku names apps that nobody named.
fn random_name() -> String {
    const FIRST: [&str; 8] = ["brisk", "calm", "early", "fresh", "keen", "quiet", "sturdy", "warm"];
    const SECOND: [&str; 8] =
        ["anvil", "bench", "chisel", "gauge", "lever", "pulley", "spindle", "wheel"];
    let random = uuid::Uuid::new_v4().as_u128();
    let word = |words: [&'static str; 8], shift: u32| {
        words[usize::try_from((random >> shift) & 7).unwrap_or(0)]
    };
    format!("{}-{}-{:05}", word(FIRST, 0), word(SECOND, 8), (random >> 16) % 100_000)
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let details = context.services.store.read(move |tx| Details::read(tx, access.app)).await?;
    Ok(Json(show_app(&context, &details)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Update {
    name: Option<String>,
    maintenance: Option<bool>,
    build_stack: Option<String>,
}

pub(super) async fn update(
    State(context): State<Context>,
    access: AppAccess,
    Body(update): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    if update.build_stack.is_some_and(|stack| stack != stack::RUN) {
        return Err(ApiError::invalid(format!("There is one stack here: {}", stack::RUN)));
    }
    if update.name.is_some() {
        access.owner("rename")?;
        access.ordinary("rename", "Its name is how an upgrade finds it.")?;
    }
    if update.maintenance == Some(true) {
        let instead = "Put the apps into maintenance that shall not be served.";
        access.ordinary("put into maintenance", instead)?;
    }
    let id = access.app.id.clone();
    let details = context
        .services
        .store
        .write(move |tx| {
            if let Some(name) = update.name.filter(|name| *name != access.app.name) {
                apps::rename(tx, &id, &name)?;
            }
            if let Some(on) = update.maintenance {
                apps::set_maintenance(tx, &id, on)?;
            }
            Details::read(tx, apps::by_id(tx, &id)?)
        })
        .await?;
    if let Some(on) = update.maintenance {
        let state = if on { "enabled" } else { "disabled" };
        let line = format!("Maintenance mode {state} by user {}", access.account.email);
        context.services.say(&details.app.id, Source::App, "api", &line);
    }
    Ok(Json(show_app(&context, &details)))
}

pub(super) async fn destroy(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    access.owner("destroy")?;
    access.ordinary("destroy", "To end it, run `lathe stop` on its server.")?;
    // Not cut off when the client goes: without its rows nobody would come back to end the rest.
    let gone = tokio::spawn(end(context, access.app));
    gone.await.map_err(|error| ApiError::internal(&error))?
}

/// Rows go first and in one transaction: from then on the app does not exist, its dynos end, and
/// what is left on disk belongs to nobody.
async fn end(context: Context, app: App) -> Result<Json<Value>, ApiError> {
    let id = app.id.clone();
    let details = context
        .services
        .store
        .write(move |tx| {
            let details = Details::read(tx, app)?;
            apps::destroy(tx, &details.app.id)?;
            Ok(details)
        })
        .await?;
    let one_offs = context.services.oneoffs.list();
    let grace = context.services.config.dynos.stop_grace;
    for one_off in one_offs.iter().filter(|one_off| one_off.app.as_str() == id) {
        context.services.oneoffs.stop(one_off.id, grace);
    }
    let data = context.services.config.data.clone();
    context.services.hub.forget(&AppId::new(&id));
    let removed = tokio::task::spawn_blocking(move || {
        // Missing is what they should be; anything else the next start finds again.
        drop(std::fs::remove_dir_all(git::path_of(&data, &id)));
        drop(std::fs::remove_file(build::cache_of(&data, &id)));
    });
    drop(removed.await);
    Ok(Json(show_app(&context, &details)))
}

pub(super) fn show_app(context: &Context, details: &Details) -> Value {
    let Details { app, release, pinned } = details;
    let slug = release.as_ref().and_then(|release| release.slug.as_ref());
    let detected = slug.map(|slug| {
        slug.buildpacks
            .iter()
            .map(|buildpack| buildpack.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    });
    let stack = catalogue::stack();
    json!({
        "id": app.id,
        "name": app.name,
        "acm": app.acm,
        "archived_at": null,
        "buildpack_provided_description": detected,
        "buildpacks_pinned": pinned,
        "build_stack": stack,
        "stack": stack,
        "create_status": "complete",
        "created_at": app.created_at,
        "updated_at": app.updated_at,
        "released_at": release.as_ref().map(|release| release.updated_at),
        "generation": catalogue::generation(),
        "git_url": context.url(&format!("/{}.git", app.name)),
        "web_url": context.services.web_url(&app.name),
        "internal_routing": false,
        "maintenance": app.maintenance,
        "owner": account::brief(&app.owner),
        "organization": null,
        "team": null,
        "space": null,
        "process_tier": "production",
        "region": catalogue::region(),
        "repo_size": null,
        "slug_size": slug.map(|slug| slug.bytes),
    })
}

/// How other resources name their app.
pub(super) fn brief(app: &App) -> Value {
    json!({"id": app.id, "name": app.name})
}
