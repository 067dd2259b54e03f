//! Releases: the list, one, its config and output; and rollback, which is a new release.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::page::page;
use super::segments::Segments;
use super::{account, apps, inputs};
use crate::control::pipeline;
use crate::state::model::{App, Config, Release, ReleaseStatus, Step};
use crate::state::{self, StateError, Tx, releases, slugs, system};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use lathe_logs::Source;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = access.app.id.clone();
    // Which of them is current is of the same moment as they are.
    let read = move |tx: &Tx<'_>| Ok((state::apps::by_id(tx, &id)?, releases::all(tx, &id)?));
    let (app, all) = context.services.store.read(read).await?;
    let items = all.iter().map(|release| show_release(&context, &app, release)).collect();
    page(&headers, &["version", "id"], items)
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let (app, identity) = (access.app.id.clone(), access.parameter("release"));
    let observed = context.services.observed.borrow().clone();
    let read = context.services.store.read(move |tx| {
        let release = releases::by_identity(tx, &app, &identity)?;
        let progress = pipeline::of_release(tx, &release, &observed)?;
        Ok((state::apps::by_id(tx, &app)?, release, progress))
    });
    let (app, release, progress) = read.await?;
    let mut shown = show_release(&context, &app, &release);
    let dynos = progress.iter().map(|dyno| json!({"name": dyno.name, "state": dyno.word}));
    shown["pipeline"]["dynos"] = dynos.collect();
    Ok(Json(shown))
}

pub(super) async fn config_vars(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Config>, ApiError> {
    Ok(Json(find(&context, &access).await?.config))
}

async fn find(context: &Context, access: &AppAccess) -> Result<Release, ApiError> {
    let (app, identity) = (access.app.id.clone(), access.parameter("release"));
    Ok(context.services.store.read(move |tx| releases::by_identity(tx, &app, &identity)).await?)
}

#[derive(Debug, Deserialize)]
pub(super) struct Create {
    /// Roll back to this release.
    release: Option<String>,
    /// Or release this slug.
    slug: Option<String>,
    description: Option<String>,
    /// Rights beyond a dyno's.
    #[serde(default)]
    grants: Vec<String>,
}

pub(super) async fn create(
    State(context): State<Context>,
    access: AppAccess,
    Body(create): Body<Create>,
) -> Result<Response, ApiError> {
    if let Some(grant) = create.grants.iter().find(|grant| !may_have(&access.app, grant)) {
        let grant = grant.escape_debug();
        return Err(ApiError::invalid(format!("No app of yours can be granted \"{grant}\"")));
    }
    let (app, account) = (access.app.clone(), access.account.clone());
    let release = context
        .services
        .store
        .write(move |tx| {
            let change = match (&create.release, &create.slug) {
                (Some(release), _) => rollback(releases::by_identity(tx, &app.id, release)?)?,
                (None, Some(slug)) => {
                    let slug = slugs::by_id(tx, &app.id, slug)?;
                    if slug.digest.is_none() {
                        return Err(StateError::Refused(
                            "The slug's blob has not been uploaded yet".into(),
                        ));
                    }
                    let description = create.description.unwrap_or_else(|| "Deploy".into());
                    releases::Change { description, slug: Some(slug), config: None }
                }
                (None, None) => {
                    return Err(StateError::Refused(
                        "Name a release to roll back to, or a slug".into(),
                    ));
                }
            };
            releases::append(tx, &app, &account, change)
        })
        .await?;
    for line in [&release.description, &format!("Release v{} created", release.version)] {
        let line = format!("{line} by user {}", access.account.email);
        context.services.say(&access.app.id, Source::App, "api", &line);
    }
    let shown = show_release(&context, &access.app, &release);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

fn may_have(app: &App, grant: &str) -> bool {
    grants(app).contains(&grant)
}

/// Every release of the platform itself has all of them.
fn grants(app: &App) -> &'static [&'static str] {
    if app.system { &system::GRANTS } else { &[] }
}

fn rollback(target: Release) -> Result<releases::Change, StateError> {
    let description = format!("Rollback to v{}", target.version);
    match (target.slug, target.status) {
        (None, _) => Err(StateError::Refused(format!(
            "Release v{} has no slug to roll back to",
            target.version
        ))),
        (_, ReleaseStatus::Failed) => Err(StateError::Refused(format!(
            "Release v{} failed; it cannot be rolled back to",
            target.version
        ))),
        (Some(slug), _) => {
            Ok(releases::Change { description, slug: Some(slug), config: Some(target.config) })
        }
    }
}

/// What the release phase printed. The URL's secret is the release's own id, so no token is asked.
pub(super) async fn output(
    State(context): State<Context>,
    Segments((app, release, secret)): Segments<(String, String, String)>,
) -> Result<Response, ApiError> {
    let found = context
        .services
        .store
        .read(move |tx| {
            let app = state::apps::by_id(tx, &app)?;
            releases::by_identity(tx, &app.id, &release)
        })
        .await?;
    match found.output.filter(|_| found.id == secret) {
        Some(output) => Ok(output.into_response()),
        None => Err(ApiError::not_found("release")),
    }
}

fn show_step(step: &Step) -> Value {
    let at = Timestamp::from_millisecond(step.at_ms).unwrap_or_default();
    json!({"stage": step.stage, "at": at, "text": step.text})
}

fn show_release(context: &Context, app: &App, release: &Release) -> Value {
    let slug = release.slug.as_ref();
    let has_phase = slug.is_some_and(|slug| slug.command("release").is_some());
    let output = has_phase
        .then(|| context.url(&format!("/apps/{0}/releases/{1}/output/{1}", app.id, release.id)));
    json!({
        "id": release.id,
        "version": release.version,
        "description": release.description,
        "status": release.status.as_str(),
        "phase": release.phase.as_str(),
        "failure": release.failure,
        "pipeline": {"steps": release.steps.iter().map(show_step).collect::<Vec<_>>()},
        "grants": grants(app),
        "current": app.current == Some(release.version),
        "eligible_for_rollback": slug.is_some() && release.status != ReleaseStatus::Failed,
        "addon_plan_names": [],
        "artifacts": [],
        "app": apps::brief(app),
        "slug": slug.map(|slug| json!({"id": slug.id})),
        "inputs": slug.map(inputs::show),
        "user": account::brief(&release.account),
        "output_stream_url": output,
        "created_at": release.created_at,
        "updated_at": release.updated_at,
    })
}
