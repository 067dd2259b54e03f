//! The dynos of an app's formation as users see them.

use super::slots::Place;
use super::snapshot::AppState;
use super::wanted;
use crate::state::{StateError, Tx, apps};
use jiff::Timestamp;
use lathe_dynos::spec::{DynoState, Observed};
use sha2::{Digest, Sha256};
use uuid::Uuid;

#[derive(Clone, PartialEq, Debug)]
pub struct Dyno {
    pub id: String,
    pub name: String,
    pub process_type: String,
    pub command: String,
    pub size: String,
    pub release: u32,
    /// One of Heroku's words.
    pub state: &'static str,
    pub since: Timestamp,
}

/// Those of the release that serves, or that is about to serve first.
/// `asleep`: the app is.
pub fn of_app(
    tx: &Tx<'_>,
    app: &str,
    observed: &Observed,
    asleep: bool,
) -> Result<Vec<Dyno>, StateError> {
    let state = AppState::read(tx, apps::by_id(tx, app)?)?;
    let serving = state.current.as_ref().filter(|release| release.slug.is_some());
    let Some(release) = serving.or(state.candidate.as_ref()) else { return Ok(Vec::new()) };
    let dynos = wanted::places(&state, release).into_iter().filter_map(|place| {
        let formation = state.formation.iter().find(|f| f.process_type == place.process_type)?;
        let seen = observed.dynos.get(&place.slot());
        let since = seen.and_then(|dyno| i64::try_from(dyno.since_ms).ok());
        let since = since.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Some(Dyno {
            id: seen.and_then(|dyno| dyno.id).map_or_else(|| stand_in(&place), |id| id.to_string()),
            name: place.dyno_name(),
            command: release.slug.as_ref()?.command(&place.process_type)?.to_owned(),
            size: formation.size.clone(),
            release: release.version,
            state: match seen {
                Some(dyno) => word(dyno.state),
                None if asleep => "idle",
                None => "starting",
            },
            since: since.unwrap_or(tx.now),
            process_type: place.process_type,
        })
    });
    Ok(dynos.collect())
}

fn word(state: DynoState) -> &'static str {
    match state {
        DynoState::Starting => "starting",
        DynoState::Up => "up",
        DynoState::Stopping => "down",
        DynoState::Crashed => "crashed",
    }
}

/// A dyno without a container has no identity yet, but lists need one: made from its place.
fn stand_in(place: &Place) -> String {
    let digest = Sha256::digest(place.to_string());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes).to_string()
}
