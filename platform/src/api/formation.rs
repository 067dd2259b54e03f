//! The formation: how many dynos of which size each process type has.

use super::access::AppAccess;
use super::body::Body;
use super::context::Context;
use super::error::ApiError;
use super::{apps, catalogue};
use crate::control::room;
use crate::services::Services;
use crate::state::model::{App, Formation, Slug};
use crate::state::{StateError, Tx, formation, releases};
use axum::Json;
use axum::extract::State;
use lathe_dynos::class::{Class, Classes};
use lathe_logs::Source;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) async fn list(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let app = access.app.clone();
    let (all, slug) = context.services.store.read(move |tx| read(tx, &app)).await?;
    Ok(Json(all.iter().map(|f| show_formation(&access.app, slug.as_ref(), f)).collect()))
}

/// The whole formation, and the slug that says what each type runs.
fn read(tx: &Tx<'_>, app: &App) -> Result<(Vec<Formation>, Option<Slug>), StateError> {
    let head = releases::head(tx, &app.id)?;
    Ok((formation::all(tx, &app.id)?, head.and_then(|release| release.slug)))
}

pub(super) async fn show(
    State(context): State<Context>,
    access: AppAccess,
) -> Result<Json<Value>, ApiError> {
    let name = access.parameter("type");
    let app = access.app.clone();
    let (all, slug) = context.services.store.read(move |tx| read(tx, &app)).await?;
    let found = all.iter().find(|f| f.process_type == name || f.id == name);
    let found = found.ok_or_else(|| ApiError::not_found("process type"))?;
    Ok(Json(show_formation(&access.app, slug.as_ref(), found)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    updates: Vec<Update>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Update {
    #[serde(rename = "type", alias = "process")]
    process_type: Option<String>,
    quantity: Option<Quantity>,
    #[serde(alias = "dyno_size")]
    size: Option<Size>,
}

/// The CLI sends `"2"`, `"+1"` and `"-1"`; others send numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "quantity is a number, or a text such as \"2\", \"+1\" or \"-1\"")]
enum Quantity {
    Number(u32),
    Text(String),
}

/// A name, or an object with a name as newer clients send it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "size is the name of a dyno size, such as \"standard-2x\"")]
enum Size {
    Name(String),
    Object { name: String },
}

pub(super) async fn batch_update(
    State(context): State<Context>,
    access: AppAccess,
    Body(batch): Body<Batch>,
) -> Result<Json<Value>, ApiError> {
    change(&context, &access, batch.updates).await?;
    list(State(context), access).await
}

pub(super) async fn update(
    State(context): State<Context>,
    access: AppAccess,
    Body(update): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let update = Update { process_type: Some(access.parameter("type")), ..update };
    change(&context, &access, vec![update]).await?;
    show(State(context), access).await
}

/// All of it or nothing.
async fn change(
    context: &Context,
    access: &AppAccess,
    updates: Vec<Update>,
) -> Result<(), ApiError> {
    if !updates.is_empty() {
        let instead = "It runs once on this machine, and in no dyno.";
        access.ordinary("scale", instead)?;
    }
    let app = access.app.id.clone();
    let services = context.services.clone();
    let scaled = context
        .services
        .store
        .write(move |tx| {
            let scaled = updates.iter().map(|update| apply(tx, &app, update, &services));
            scaled.collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let line = format!("Scaled to {} by user {}", scaled.join(" "), access.account.email);
    context.services.say(&access.app.id, Source::App, "api", &line);
    Ok(())
}

/// Gives `web@2:Standard-1X`.
fn apply(
    tx: &Tx<'_>,
    app: &str,
    update: &Update,
    services: &Services,
) -> Result<String, StateError> {
    let classes = &services.config.classes;
    let name = update.process_type.clone().unwrap_or_default();
    let before = formation::of_type(tx, app, &name)?.ok_or(StateError::NotFound("process type"))?;
    let quantity = match &update.quantity {
        None => before.quantity,
        Some(Quantity::Number(number)) => *number,
        Some(Quantity::Text(text)) => quantity(before.quantity, text).ok_or_else(|| {
            StateError::Refused(format!("{text:?} is not a quantity: write 2, +1 or -1"))
        })?,
    };
    let size = match &update.size {
        None => before.size.clone(),
        Some(Size::Name(size) | Size::Object { name: size }) => named(classes, size)?.name,
    };
    formation::scale(tx, app, &before.process_type, quantity, &size)?;
    if let Some(class) = classes.named(&size) {
        let had = classes.named(&before.size);
        let promised = room::promised(tx, classes)?;
        let before = (&before, had.as_ref());
        room::grown(&services.capacity, promised, before, (quantity, &class))?;
    }
    Ok(format!("{}@{quantity}:{size}", before.process_type))
}

/// The class of that name, if dynos of an app may have it.
pub(super) fn named(classes: &Classes, size: &str) -> Result<Class, StateError> {
    classes.named(size).filter(Class::is_for_apps).ok_or_else(|| {
        StateError::Refused(format!("{size:?} is not a dyno size; try standard-1x or standard-2x"))
    })
}

/// `2`, or relative to what is: `+1`, `-1` (not below zero).
fn quantity(before: u32, text: &str) -> Option<u32> {
    match text.split_at_checked(1)? {
        ("+", more) => before.checked_add(more.parse().ok()?),
        ("-", less) => Some(before.saturating_sub(less.parse().ok()?)),
        _ => text.parse().ok(),
    }
}

fn show_formation(app: &App, slug: Option<&Slug>, formation: &Formation) -> Value {
    json!({
        "id": formation.id,
        "app": apps::brief(app),
        "type": formation.process_type,
        "command": slug.and_then(|slug| slug.command(&formation.process_type)).unwrap_or_default(),
        "quantity": formation.quantity,
        "size": formation.size,
        "dyno_size": catalogue::dyno_size(&formation.size),
        "created_at": formation.updated_at,
        "updated_at": formation.updated_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_as_the_cli_writes_them() {
        let cases = [
            ("2", Some(2)),
            ("+1", Some(4)),
            ("-1", Some(2)),
            ("-9", Some(0)),
            ("0", Some(0)),
            ("", None),
            ("+", None),
            ("x", None),
            ("1.5", None),
            ("+4294967295", None),
        ];
        for (text, expected) in cases {
            assert_eq!(quantity(3, text), expected, "{text}");
        }
        let classes = Classes::standard();
        assert_eq!(named(&classes, "standard-2x").unwrap().name, "Standard-2X");
        assert!(named(&classes, "build").is_err() && named(&classes, "huge").is_err());
    }
}
