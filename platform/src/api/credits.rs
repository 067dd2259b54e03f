//! CPU credits: balances of an app's dynos, the governor's settings, its report and its metrics.

use super::access::{AppAccess, Caller};
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::prometheus;
use crate::state::{StateError, apps};
use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use lathe_dynos::governor::Credit;
use lathe_dynos::governor::report::Finding;
use lathe_dynos::governor::rollout::{Change, Scope, Step};
use lathe_dynos::governor::setting::Setting;
use lathe_logs::AppId;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// A trial of more than this is meant for good.
const TRIAL_SECS_MAX: u64 = 30 * 24 * 3600;

/// The credit of each dyno of an app.
pub(super) async fn of_app(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let id = AppId::new(&access.app.id);
    let credits = read(&context, Some(id)).await?;
    Ok(Json(credits.iter().map(show_credit).collect()))
}

/// The settings in force and the steps that led to them.
pub(super) async fn settings(
    State(context): State<Context>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    caller.operator("see the governor's settings")?;
    let names = names(&context).await?;
    let (settings, steps) = context.services.governor.settings();
    let shown = settings.iter().map(|(scope, setting)| {
        json!({"scope": show_scope(scope, &names), "setting": setting.to_string()})
    });
    Ok(Json(json!({
        "default": Setting::Observe.to_string(),
        "settings": shown.collect::<Vec<_>>(),
        "steps": steps.iter().map(|step| show_step(step, &names)).collect::<Vec<_>>(),
    })))
}

/// At most one of `app` and `class`; neither is the whole cell.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    app: Option<String>,
    class: Option<String>,
    mode: Option<String>,
    percent: Option<u8>,
    strength: Option<u8>,
    /// Tried for so long; without it for good.
    for_seconds: Option<u64>,
}

pub(super) async fn change(
    State(context): State<Context>,
    caller: Caller,
    Body(asked): Body<Asked>,
) -> Result<Json<Value>, ApiError> {
    caller.operator("change the governor's settings")?;
    let setting = asked.setting().map_err(ApiError::invalid)?;
    let trial = asked.trial().map_err(ApiError::invalid)?;
    let scope = scope(&context, asked.app, asked.class).await?;
    let change = Change { scope, setting, trial };
    let governor = context.services.governor.clone();
    let changed = tokio::task::spawn_blocking(move || governor.change(change)).await;
    let step = match changed.map_err(|error| ApiError::internal(&error))? {
        Ok(step) => step,
        Err(lathe_dynos::governor::ChangeError::Overloaded(why)) => {
            return Err(ApiError::invalid(format!("Nothing was changed: {why}.")));
        }
        Err(error) => return Err(ApiError::internal(&error)),
    };
    Ok(Json(show_step(&step, &names(&context).await?)))
}

impl Asked {
    fn setting(&self) -> Result<Option<Setting>, String> {
        let percent = |given: Option<u8>, name: &str| match given.unwrap_or(100) {
            percent @ 0..=100 => Ok(percent),
            other => Err(format!("{name} is a number from 0 to 100, not {other}")),
        };
        match self.mode.as_deref() {
            Some("off") => Ok(Some(Setting::Off)),
            Some("observe") => Ok(Some(Setting::Observe)),
            Some("enforce") => Ok(Some(Setting::Enforce {
                percent: percent(self.percent, "percent")?,
                strength: percent(self.strength, "strength")?,
            })),
            Some("default") => Ok(None),
            _ => Err("mode is off, observe, enforce or default".into()),
        }
    }

    fn trial(&self) -> Result<Option<Duration>, String> {
        match self.for_seconds {
            Some(seconds) if !(1..=TRIAL_SECS_MAX).contains(&seconds) => {
                Err(format!("for_seconds is a number from 1 to {TRIAL_SECS_MAX}"))
            }
            seconds => Ok(seconds.map(Duration::from_secs)),
        }
    }
}

async fn scope(
    context: &Context,
    app: Option<String>,
    class: Option<String>,
) -> Result<Scope, ApiError> {
    match (app, class) {
        (None, None) => Ok(Scope::Cell),
        (Some(app), None) => {
            let found = context.services.store.read(apps::all).await?;
            let found = found.into_iter().find(|known| known.name == app || known.id == app);
            let found = found.ok_or(StateError::NotFound("app"))?;
            Ok(Scope::App(AppId::new(found.id)))
        }
        (None, Some(class)) => match context.services.config.classes.named(&class) {
            Some(class) => Ok(Scope::Class(class.name)),
            None => Err(ApiError::invalid(format!("{class:?} is not a dyno size"))),
        },
        (Some(_), Some(_)) => Err(ApiError::invalid("name an app or a class, not both")),
    }
}

/// Who would have been held back for most of the last 24 hours.
pub(super) async fn report(
    State(context): State<Context>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    caller.operator("see the report of all apps")?;
    let names = names(&context).await?;
    let governor = context.services.governor.clone();
    let classes = context.services.config.classes.clone();
    let found = tokio::task::spawn_blocking(move || governor.report(&classes)).await;
    let found = found.map_err(|error| ApiError::internal(&error))?;
    Ok(Json(found.iter().map(|finding| show_finding(finding, &names)).collect()))
}

/// All dynos' credit and all apps' log lines in the text format of Prometheus.
pub(super) async fn metrics(
    State(context): State<Context>,
    caller: Caller,
) -> Result<Response, ApiError> {
    caller.operator("see the metrics of all apps")?;
    let names = names(&context).await?;
    let credits = read(&context, None).await?;
    let name_of = |app: &AppId| name_of(app, &names);
    let logs = context.services.hub.all_counts();
    let text = prometheus::credits(&credits, name_of) + &prometheus::logs(&logs, name_of);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// The kernel's files are read for it.
async fn read(context: &Context, app: Option<AppId>) -> Result<Vec<Credit>, ApiError> {
    let governor = context.services.governor.clone();
    let credits = tokio::task::spawn_blocking(move || governor.credits(app.as_ref())).await;
    credits.map_err(|error| ApiError::internal(&error))
}

type Names = HashMap<String, String>;

async fn names(context: &Context) -> Result<Names, ApiError> {
    let all = context.services.store.read(apps::all).await?;
    Ok(all.into_iter().map(|app| (app.id, app.name)).collect())
}

/// An app that is gone has its id only.
fn name_of(app: &AppId, names: &Names) -> String {
    names.get(app.as_str()).cloned().unwrap_or_else(|| app.to_string())
}

fn show_scope(scope: &Scope, names: &Names) -> String {
    match scope {
        Scope::Cell => "all dynos".into(),
        Scope::Class(class) => format!("class {class}"),
        Scope::App(app) => format!("app {}", name_of(app, names)),
    }
}

fn show_step(step: &Step, names: &Names) -> Value {
    let at = i64::try_from(step.at_ms).ok();
    let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    json!({"at": at, "scope": show_scope(&step.scope, names), "what": step.to_string()})
}

fn show_credit(credit: &Credit) -> Value {
    let mut shown = json!(credit);
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("app");
    }
    shown
}

fn show_finding(finding: &Finding, names: &Names) -> Value {
    json!({
        "app": name_of(&finding.app, names),
        "type": finding.process_type,
        "size": finding.class,
        "dynos": finding.dynos,
        "held_dynos": finding.held_dynos,
        "held_percent": finding.held_percent,
        "seen_seconds": finding.seen.as_secs(),
        "would_do": finding.remedy.as_ref().map(|remedy| json!({
            "size": remedy.class,
            "more_cents_a_month": remedy.more_cents,
        })),
    })
}
