//! Everything the control loop decides from, read in one transaction.

use crate::state::model::{App, Domain, Formation, Release, ReleaseStatus};
use crate::state::restarts::{self, DynoRestarts};
use crate::state::{StateError, Tx, apps, domains, features, formation, releases};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Snapshot {
    pub apps: Vec<Arc<AppState>>,
}

/// One app with what is to run of it.
#[derive(Clone, PartialEq, Debug)]
pub struct AppState {
    pub app: App,
    /// The release that serves.
    pub current: Option<Release>,
    /// The release that serves next, if it boots.
    pub candidate: Option<Release>,
    pub formation: Vec<Formation>,
    pub dyno_restarts: DynoRestarts,
    pub domains: Vec<Domain>,
    /// What its dynos use is told in its log.
    pub metrics: bool,
}

impl Snapshot {
    /// What has not changed since `before` is shared with it.
    pub fn read(tx: &Tx<'_>, before: &Self) -> Result<Self, StateError> {
        let before: BTreeMap<&str, &Arc<AppState>> =
            before.apps.iter().map(|state| (state.app.id.as_str(), state)).collect();
        let read = |app: App| {
            let state = AppState::read(tx, app)?;
            match before.get(state.app.id.as_str()) {
                Some(before) if ***before == state => Ok(Arc::clone(before)),
                _ => Ok(Arc::new(state)),
            }
        };
        // What the system app runs is the keeper's to start.
        let apps = apps::all(tx)?.into_iter().filter(|app| !app.system).map(read);
        Ok(Self { apps: apps.collect::<Result<_, StateError>>()? })
    }
}

impl AppState {
    pub fn read(tx: &Tx<'_>, app: App) -> Result<Self, StateError> {
        let release = |version: Option<u32>| {
            version.map(|version| releases::by_version(tx, &app.id, version)).transpose()
        };
        Ok(Self {
            current: release(app.current)?,
            candidate: release(app.candidate)?
                .filter(|release| release.status == ReleaseStatus::Pending),
            formation: formation::all(tx, &app.id)?,
            dyno_restarts: restarts::of_app(tx, &app.id)?,
            domains: domains::of_app(tx, &app.id)?,
            metrics: features::named(tx, &app.id, features::LOG_RUNTIME_METRICS)?
                .enabled_at
                .is_some(),
            app,
        })
    }
}
