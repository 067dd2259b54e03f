//! The way of a release as users follow it: what it has passed, and what it waits for now.

use super::slots::Place;
use super::snapshot::AppState;
use super::wanted;
use crate::state::model::{Phase, Release};
use crate::state::{StateError, Tx, apps};
use lathe_dynos::spec::{DynoState, Observed, ObservedDyno};
use std::collections::BTreeMap;

/// A dyno of a release that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    pub name: String,
    /// `starting`, `up`, `not ready`, `not well`, `crashed` or `stopping`.
    pub word: &'static str,
}

/// The dynos of a release that boots or is on probation; of any other none.
pub fn of_release(
    tx: &Tx<'_>,
    release: &Release,
    observed: &Observed,
) -> Result<Vec<Progress>, StateError> {
    let state = AppState::read(tx, apps::by_id(tx, &release.app)?)?;
    let under_way = state.candidate.as_ref().filter(|candidate| candidate.id == release.id);
    let Some(candidate) = under_way.filter(|candidate| candidate.phase == Phase::Booting) else {
        return Ok(Vec::new());
    };
    let word = |place: &Place| observed.dynos.get(&place.slot()).map_or("starting", word);
    let places = wanted::places(&state, candidate).into_iter();
    Ok(places.map(|place| Progress { word: word(&place), name: place.dyno_name() }).collect())
}

fn word(dyno: &ObservedDyno) -> &'static str {
    match dyno.state {
        DynoState::Starting => "starting",
        DynoState::Up if dyno.ailing.is_some() => "not well",
        DynoState::Up if !dyno.ready => "not ready",
        DynoState::Up => "up",
        DynoState::Stopping => "stopping",
        DynoState::Crashed => "crashed",
    }
}

/// How much of their ways was told in the apps' logs, by app: the newest release and how many steps
/// of it. What was passed before this began to tell was told by somebody else.
#[derive(Debug, Default)]
pub(super) struct Told {
    begun: bool,
    apps: BTreeMap<String, (u32, usize)>,
}

impl Told {
    /// All apps were looked at once: whatever is new from now on happens now.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// What there is to be told of the newest release of an app that may still come to serve, or does.
    pub(super) fn news(&mut self, state: &AppState) -> Vec<String> {
        let Some(release) = state.candidate.as_ref().or(state.current.as_ref()) else {
            return Vec::new();
        };
        let (version, told) = self.apps.get(&state.app.id).copied().unwrap_or_default();
        let told = if version == release.version { told } else { 0 };
        if (version, told) != (release.version, release.steps.len()) {
            self.apps.insert(state.app.id.clone(), (release.version, release.steps.len()));
        }
        let new = release.steps.iter().skip(told).filter(|_| self.begun);
        new.map(|step| format!("Release v{} {}", release.version, step.text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{app, release};
    use super::*;
    use crate::state::model::{ReleaseStatus, Stage, Step};

    #[test]
    fn each_step_is_told_once_and_none_from_before() {
        let step = |stage, at_ms, text: &str| Step { stage, at_ms, text: text.into() };
        let mut told = Told::default();
        let mut state = app();
        assert_eq!(told.news(&state), Vec::<String>::new());
        let mut first = release(1, ReleaseStatus::Succeeded, Phase::Done, &["web"]);
        first.steps = vec![step(Stage::Serving, 900, "serves")];
        state.current = Some(first);
        assert_eq!(told.news(&state), Vec::<String>::new());
        told.begin();
        assert_eq!(told.news(&state), Vec::<String>::new());
        let mut second = release(2, ReleaseStatus::Pending, Phase::Booting, &["web"]);
        second.steps = vec![step(Stage::Booting, 1000, "starts its dynos")];
        state.candidate = Some(second.clone());
        assert_eq!(told.news(&state), ["Release v2 starts its dynos"]);
        assert_eq!(told.news(&state), Vec::<String>::new());
        second.steps.push(step(Stage::Probation, 1001, "is on probation"));
        second.steps.push(step(Stage::Serving, 1002, "serves"));
        (state.candidate, state.current) = (None, Some(second));
        assert_eq!(told.news(&state), ["Release v2 is on probation", "Release v2 serves"]);
    }
}
