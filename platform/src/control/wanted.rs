//! Release and formation → the dynos that shall run.

use super::slots::Place;
use super::snapshot::AppState;
use crate::config::Patience;
use crate::state::care::Care;
use crate::state::model::{App, Phase, Release};
use imbl::OrdMap;
use lathe_dynos::class::{Class, Classes};
use lathe_dynos::spec::{DynoSpec, Slot, Wanted};
use lathe_logs::AppId;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a stack's files are on this machine; none when it is not here.
pub type StackRoot<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

/// What a place lacks, so that no dyno can fill it.
#[derive(Clone, PartialEq, Debug)]
pub enum Lack {
    /// The stack with this digest, which its release was compiled for, is not on this machine.
    Stack(String),
    /// The settings have no class of this name any more.
    Class(String),
}

/// The dynos of the serving release and, while it boots, of the next one.
pub fn of_app(
    state: &AppState,
    patience: Patience,
    classes: &Classes,
    stack_root: StackRoot<'_>,
) -> OrdMap<Slot, Arc<Wanted>> {
    let booting = state.candidate.iter().filter(|release| release.phase == Phase::Booting);
    state
        .current
        .iter()
        .chain(booting)
        .flat_map(|release| of_release(state, release, patience, classes, stack_root))
        .collect()
}

/// Every dyno of one release, with its place.
pub fn of_release(
    state: &AppState,
    release: &Release,
    patience: Patience,
    classes: &Classes,
    stack_root: StackRoot<'_>,
) -> Vec<(Slot, Arc<Wanted>)> {
    // What a release says was checked when it was made.
    let care = Care::of(&release.config).unwrap_or_default();
    places(state, release)
        .into_iter()
        .filter_map(|place| {
            let formation =
                state.formation.iter().find(|f| f.process_type == place.process_type)?;
            let command = release.slug.as_ref()?.command(&place.process_type)?;
            let spec = spec(
                &state.app,
                release,
                place.dyno_name(),
                command.to_owned(),
                classes.named(&formation.size)?,
                stack_root,
            )?;
            let port = place.is_web().then(|| place.port());
            let wanted = Wanted {
                spec: DynoSpec { port, ..spec },
                boot_timeout: patience.boot_timeout,
                stop_grace: patience.stop_grace,
                checks: care.checks.clone(),
                metrics: state.metrics,
            };
            Some((place.slot(), Arc::new(wanted)))
        })
        .collect()
}

/// The places of a release's dynos: those types that the slug has, as many as the formation says.
pub fn places(state: &AppState, release: &Release) -> Vec<Place> {
    let Some(slug) = release.slug.as_ref().filter(|slug| slug.digest.is_some()) else {
        return Vec::new();
    };
    let types = state.formation.iter().filter(|f| slug.command(&f.process_type).is_some());
    types
        .flat_map(|formation| {
            (1..=formation.quantity).map(|index| {
                let name = format!("{}.{index}", formation.process_type);
                Place {
                    app: state.app.id.clone(),
                    release: release.version,
                    process_type: formation.process_type.clone(),
                    index,
                    restarts: (formation.restarts, state.dyno_restarts.of(release.version, &name)),
                }
            })
        })
        .collect()
}

/// The first of a release's web dynos that is not among those wanted, and what it lacks.
pub fn lacking(
    state: &AppState,
    release: &Release,
    wanted: &OrdMap<Slot, Arc<Wanted>>,
    classes: &Classes,
) -> Option<(Place, Lack)> {
    let mut web = places(state, release).into_iter().filter(Place::is_web);
    let place = web.find(|place| !wanted.contains_key(&place.slot()))?;
    let formation = state.formation.iter().find(|f| f.process_type == place.process_type)?;
    let lack = match classes.named(&formation.size) {
        None => Lack::Class(formation.size.clone()),
        Some(_) => Lack::Stack(release.slug.as_ref()?.stack.clone()),
    };
    Some((place, lack))
}

/// One dyno of a release that runs `command`; none without a slug or without its stack.
pub fn spec(
    app: &App,
    release: &Release,
    name: String,
    command: String,
    class: Class,
    stack_root: StackRoot<'_>,
) -> Option<DynoSpec> {
    let slug = release.slug.as_ref()?;
    Some(DynoSpec {
        app: AppId::new(&app.id),
        name,
        uid: app.uid,
        stack: stack_root(&slug.stack)?,
        slug: Some(slug.digest?),
        command,
        env: release.config.clone(),
        class,
        port: None,
    })
}

/// A one-off's command line: when its first word is a process type, that type's command with the
/// other words appended (Heroku Dev Center, "One-off dynos"). The Heroku CLI may glue a `;` to the
/// word when it asks for the exit code.
pub fn expand(command: &str, release: &Release) -> String {
    let trimmed = command.trim_start();
    let end = trimmed.find([' ', '\t', ';']).unwrap_or(trimmed.len());
    let (word, rest) = trimmed.split_at(end);
    match release.slug.as_ref().and_then(|slug| slug.command(word)) {
        Some(expanded) => format!("{expanded}{rest}"),
        None => command.to_owned(),
    }
}
