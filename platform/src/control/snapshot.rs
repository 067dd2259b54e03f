//! Everything the control loop decides from, read in one transaction.

use crate::state::model::{App, Domain, Formation, Release, ReleaseStatus};
use crate::state::{StateError, Tx, apps, domains, formation, releases};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Debug, Default)]
pub struct Snapshot {
    pub apps: Vec<AppState>,
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
    /// By dyno name.
    pub dyno_restarts: BTreeMap<String, u32>,
    pub domains: Vec<Domain>,
}

impl Snapshot {
    pub fn read(tx: &Tx<'_>) -> Result<Self, StateError> {
        // What the system app runs is the keeper's to start.
        let apps = apps::all(tx)?.into_iter().filter(|app| !app.system);
        let apps = apps.map(|app| AppState::read(tx, app));
        Ok(Self { apps: apps.collect::<Result<_, _>>()? })
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
            dyno_restarts: formation::dyno_restarts(tx, &app.id)?,
            domains: domains::of_app(tx, &app.id)?,
            app,
        })
    }
}
