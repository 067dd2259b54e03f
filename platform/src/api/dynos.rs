//! Dynos: what runs, one-offs that shall run, restarts and stops.

use super::access::AppAccess;
use super::apps;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::formation::named;
use crate::attach::{self, Detached};
use crate::control::running::{self, Dyno};
use crate::control::{room, wanted};
use crate::hosting::Anew;
use crate::state::model::{App, OneOff, Release};
use crate::state::oneoffs::{self, NewOneOff};
use crate::state::restarts::{self, Restart};
use crate::state::{self, StateError, Tx, formation, releases};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lathe_dynos::spec::{DynoId, DynoSpec};
use lathe_logs::Source;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SIZE_DEFAULT: &str = "Standard-1X";
const COMMAND_BYTES_MAX: usize = 64 * 1024;

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(Value::Array(all(&context, &access.app).await?)))
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let identity = access.parameter("dyno");
    let all = all(&context, &access.app).await?;
    let found = all.into_iter().find(|dyno| dyno["id"] == *identity || dyno["name"] == *identity);
    found.map(Json).ok_or_else(|| ApiError::not_found("dyno"))
}

/// Dynos of the formation as the cell sees them, then one-offs that have not ended.
async fn all(context: &Context, app: &App) -> Result<Vec<Value>, ApiError> {
    let (id, itself) = (app.id.clone(), app.clone());
    let (config, since) = (context.services.config.clone(), context.services.started_at);
    let parts = context.services.parts.clone();
    let observed = context.services.observed.borrow().clone();
    let asleep = context.services.asleep.borrow().contains(&id);
    let (dynos, oneoffs, ids) = context
        .services
        .store
        .read(move |tx| {
            let oneoffs = oneoffs::running(tx)?.into_iter().filter(|one| one.app == id);
            let dynos = if itself.system {
                parts.all(tx, &itself, &config, since)?
            } else {
                running::of_app(tx, &id, &observed, asleep)?
            };
            Ok((dynos, oneoffs.collect::<Vec<_>>(), releases::ids(tx, &id)?))
        })
        .await?;
    let release = |version: u32| json!({"id": ids.get(&version), "version": version});
    let formation = dynos.iter().map(|dyno| show_dyno(app, dyno, &release(dyno.release)));
    let once = oneoffs.iter().map(|one| show_one_off(app, one, &release(one.release), None));
    Ok(formation.chain(once).collect())
}

pub(super) async fn restart_all(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Response, ApiError> {
    if access.app.system {
        return begin_anew(&context, &access, Anew::All);
    }
    mark(&context, &access, |tx, app| restarts::restart(tx, app, Restart::All)).await
}

pub(super) async fn restart_type(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Response, ApiError> {
    let name = access.parameter("type");
    if access.app.system {
        let anew = Anew::named(&name).ok_or(StateError::NotFound("process type"))?;
        return begin_anew(&context, &access, anew);
    }
    mark(&context, &access, move |tx, app| {
        formation::of_type(tx, app, &name)?.ok_or(StateError::NotFound("process type"))?;
        restarts::restart(tx, app, Restart::Type(&name))
    })
    .await
}

/// A one-off ends; a dyno of the formation is replaced, since the formation asks for it.
pub(super) async fn restart(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Response, ApiError> {
    let identity = access.parameter("dyno");
    let (app, asked) = (access.app.id.clone(), identity.clone());
    let one_off =
        context.services.store.read(move |tx| oneoffs::by_identity(tx, &app, &asked)).await;
    match one_off {
        Ok(one_off) => {
            if let Ok(id) = one_off.id.parse().map(DynoId)
                && !context.pending.withdraw(&context.services, id).await
            {
                let grace = context.services.config.dynos.stop_grace;
                context.services.oneoffs.stop(id, grace);
            }
            Ok((StatusCode::ACCEPTED, Json(json!({}))).into_response())
        }
        Err(StateError::NotFound(_)) => {
            let all = all(&context, &access.app).await?;
            let found =
                all.iter().find(|dyno| dyno["id"] == *identity || dyno["name"] == *identity);
            let found = found.ok_or_else(|| ApiError::not_found("dyno"))?;
            let name = found["name"].as_str().unwrap_or_default().to_owned();
            if access.app.system {
                let anew = Anew::named(&name).ok_or_else(keeper_stays)?;
                return begin_anew(&context, &access, anew);
            }
            mark(&context, &access, move |tx, app| restarts::restart(tx, app, Restart::Dyno(&name)))
                .await
        }
        Err(other) => Err(other.into()),
    }
}

async fn mark(
    context: &Context,
    access: &AppAccess,
    change: impl FnOnce(&Tx<'_>, &str) -> Result<(), StateError> + Send + 'static,
) -> Result<Response, ApiError> {
    let app = access.app.id.clone();
    context.services.store.write(move |tx| change(tx, &app)).await?;
    let line = format!("Restart by user {}", access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
    Ok((StatusCode::ACCEPTED, Json(json!({}))).into_response())
}

/// The platform itself, or its router: the same release anew. Nobody is turned away meanwhile.
fn begin_anew(context: &Context, access: &AppAccess, anew: Anew) -> Result<Response, ApiError> {
    if let Some(version) = access.app.candidate {
        let message = format!("The platform is about to become v{version}: that restarts it.");
        return Err(ApiError::invalid(message));
    }
    let line = format!("Restart by user {}", access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
    context.services.parts.begin(anew);
    Ok((StatusCode::ACCEPTED, Json(json!({}))).into_response())
}

fn keeper_stays() -> ApiError {
    ApiError::invalid("The keeper is started anew on its server: systemctl restart lathe")
}

#[derive(Debug, Deserialize)]
pub(super) struct Run {
    command: String,
    #[serde(default)]
    attach: bool,
    #[serde(default, deserialize_with = "scalars")]
    env: BTreeMap<String, String>,
    size: Option<String>,
    #[serde(rename = "type")]
    process_type: Option<String>,
    #[serde(default)]
    force_no_tty: bool,
}

/// The Heroku CLI sends the size of its terminal as numbers, and what it does not know as null.
fn scalars<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let said = Option::<BTreeMap<String, Value>>::deserialize(from)?.unwrap_or_default();
    let text = |(name, value)| match value {
        Value::Null => None,
        Value::String(text) => Some(Ok((name, text))),
        Value::Number(number) => Some(Ok((name, number.to_string()))),
        Value::Bool(truth) => Some(Ok((name, truth.to_string()))),
        Value::Array(_) | Value::Object(_) => Some(Err(D::Error::custom("env holds strings"))),
    };
    said.into_iter().filter_map(text).collect()
}

/// Records a one-off and starts it: at once when detached, when its client comes when attached.
pub(super) async fn run(
    State(context): State<Context>,
    access: AppAccess,
    Body(run): Body<Run>,
) -> Result<Response, ApiError> {
    check(&run)?;
    // Not cut off when the client goes: what is recorded is started, or ended by who starts it.
    let begun = tokio::spawn(begin(context, access, run));
    begun.await.map_err(|error| ApiError::internal(&error))?
}

async fn begin(context: Context, access: AppAccess, run: Run) -> Result<Response, ApiError> {
    let id = DynoId::random();
    let line =
        format!("Starting process with command `{}` by user {}", run.command, access.account.email);
    let terminal = (!run.force_no_tty).then(|| attach::Window::of(&run.env));
    let attached = run.attach;
    let (one_off, release, spec) = record(&context, &access, id, run).await?;
    context.services.say(&access.app.id, Source::App, "api", &line);
    let release = json!({"id": release.id, "version": release.version});
    let url = if attached {
        let token = context.pending.expect(&context.services, id, spec, terminal);
        let host = &context.services.config.api_host;
        Some(format!(
            "rendezvous://{host}:{}/{token}",
            context.services.endpoints.rendezvous.port()
        ))
    } else {
        Detached::start(context.services.clone(), id, spec);
        None
    };
    let shown = show_one_off(&access.app, &one_off, &release, url.as_deref());
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

fn check(run: &Run) -> Result<(), ApiError> {
    if run.command.trim().is_empty()
        || run.command.len() > COMMAND_BYTES_MAX
        || run.command.contains('\0')
    {
        return Err(ApiError::invalid("command has to be a command line"));
    }
    let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bad = |(name, value): (&String, &String)| {
        name.is_empty() || !name.bytes().all(valid) || value.contains('\0')
    };
    if run.env.iter().any(bad) {
        return Err(ApiError::invalid("env holds a name or a value that no process can have"));
    }
    let type_ok = |name: &String| {
        (1..=30).contains(&name.len()) && name.bytes().all(|b| valid(b) || b == b'-')
    };
    if !run.process_type.as_ref().is_none_or(type_ok) {
        return Err(ApiError::invalid("type is letters, digits, dashes and underscores"));
    }
    Ok(())
}

async fn record(
    context: &Context,
    access: &AppAccess,
    id: DynoId,
    run: Run,
) -> Result<(OneOff, Release, DynoSpec), ApiError> {
    let (app, account) = (access.app.id.clone(), access.account.id.clone());
    let services = context.services.clone();
    let recorded = context
        .services
        .store
        .write(move |tx| {
            let app = state::apps::by_id(tx, &app)?;
            let release = serving(tx, &app)?;
            let classes = &services.config.classes;
            let class = named(classes, run.size.as_deref().unwrap_or(SIZE_DEFAULT))?;
            room::one_more(&services.capacity, room::promised(tx, classes)?, &class)?;
            let new = NewOneOff {
                id: id.to_string(),
                process_type: run.process_type.unwrap_or_else(|| "run".into()),
                command: run.command.clone(),
                size: class.name.clone(),
                release: release.version,
                attached: run.attach,
                account,
            };
            let seed = u32::try_from(id.0.as_u128() & 0xffff).unwrap_or(0);
            let one_off = oneoffs::create(tx, &app.id, &new, seed)?;
            let command = wanted::expand(&run.command, &release);
            let root = |stack: &str| services.stack_root(stack);
            let spec = wanted::spec(&app, &release, one_off.name.clone(), command, class, &root);
            let mut spec = spec.ok_or_else(|| {
                StateError::Refused(
                    "The stack this release was compiled for is not here: push again".into(),
                )
            })?;
            spec.env.extend(run.env);
            Ok((one_off, release, spec))
        })
        .await?;
    Ok(recorded)
}

/// A one-off runs what serves; before anything serves, what is about to.
fn serving(tx: &Tx<'_>, app: &App) -> Result<Release, StateError> {
    let with_slug = |version: Option<u32>| {
        let release =
            version.map(|version| releases::by_version(tx, &app.id, version)).transpose()?;
        Ok::<_, StateError>(release.filter(|release| release.slug.is_some()))
    };
    match with_slug(app.current)? {
        Some(release) => Ok(release),
        None => with_slug(app.candidate)?.ok_or_else(|| {
            StateError::Refused("Nothing was deployed to this app yet: git push first".into())
        }),
    }
}

fn show_dyno(app: &App, dyno: &Dyno, release: &Value) -> Value {
    json!({
        "id": dyno.id,
        "app": apps::brief(app),
        "attach_url": null,
        "command": dyno.command,
        "name": dyno.name,
        "type": dyno.process_type,
        "size": dyno.size,
        "state": dyno.state,
        "release": release,
        "created_at": dyno.since,
        "updated_at": dyno.since,
    })
}

fn show_one_off(app: &App, one: &OneOff, release: &Value, attach_url: Option<&str>) -> Value {
    json!({
        "id": one.id,
        "app": apps::brief(app),
        "attach_url": attach_url,
        "command": one.command,
        "name": one.name,
        "type": one.process_type,
        "size": one.size,
        "state": one.state.as_str(),
        "release": release,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
    })
}
