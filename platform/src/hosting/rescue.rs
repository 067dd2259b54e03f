//! Versions that a data directory knows of, with no platform to ask; and one of them put in the seat.

use super::program::{self, ProgramError};
use super::{Seat, Verdict, Version, before, dir, seat};
use crate::backup::STATE;
use crate::config::Config;
use crate::host::instance::{self, InstanceError};
use crate::room::Room;
use crate::state::lock::DataLock;
use crate::state::model::ReleaseStatus;
use crate::state::secrets::{KEY, Secrets};
use crate::state::{Copied, Health, StateError, Store, apps, examine, releases};
use lathe_slug::Store as Slugs;
use std::fs;
use std::io;
use std::path::Path;

/// Why the next platform is none of the versions, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    #[error("somebody keeps this platform")]
    Kept(#[source] StateError),
    #[error("it runs: process {pid}")]
    Runs { pid: i32 },
    #[error("it cannot be told whether one runs")]
    Find(#[from] InstanceError),
    #[error("the releases of the platform cannot be read")]
    State(#[from] StateError),
    #[error("the directory of the versions cannot be used")]
    Seat(#[source] io::Error),
    #[error("the state has schema {found}, of a newer program: this one knows up to {known}")]
    Newer { found: i64, known: i64 },
    #[error("no version v{number} is known to have been good")]
    Unknown { number: u32 },
    #[error("v{number} cannot be run")]
    Program {
        number: u32,
        #[source]
        source: ProgramError,
    },
}

impl RescueError {
    pub fn remedy(&self) -> String {
        match self {
            Self::Kept(_) | Self::Runs { .. } => {
                "End it with `lathe stop`, and do it again.".into()
            }
            Self::Newer { .. } | Self::State(StateError::Newer { .. }) => {
                "`lathe rescue` names the platform's own program, which knows it: use that one."
                    .into()
            }
            Self::State(_) => "`lathe rescue restore FILE` puts a backup in its place.".into(),
            Self::Seat(_) | Self::Find(_) => "Check the disk, and that you are root.".into(),
            Self::Unknown { .. } | Self::Program { .. } => {
                "`lathe rescue` lists what can be started; `lathe rescue own` starts this program."
                    .into()
            }
        }
    }
}

/// Every version that was good once, by its number: those that the state records, and those that the
/// keeper has written down, which are there when the state cannot be read. The error is that of the state.
pub async fn known(config: &Config) -> (Vec<Version>, Option<RescueError>) {
    let (mut all, error) = match recorded(&config.data).await {
        Ok(all) => (all, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let seat = seat::read(&config.data).unwrap_or_default();
    let judged = seat.verdict.filter(|verdict| verdict.failure.is_none());
    for version in seat.good.into_iter().chain(judged.map(|Verdict { version, .. }| version)) {
        if all.iter().all(|other| other.release != version.release) {
            all.push(version);
        }
    }
    all.sort_by_key(|version| version.number);
    (all, error)
}

/// From a copy: to open a state is to bring it to this program's schema, which may shut others out.
async fn recorded(data: &Path) -> Result<Vec<Version>, RescueError> {
    let room = Room::make(data, ".rescue-").map_err(RescueError::Seat)?;
    Copied::make(data, &room.path().join(STATE))?;
    fs::copy(data.join(KEY), room.path().join(KEY)).map_err(RescueError::Seat)?;
    let secrets = Secrets::of(room.path())?;
    let copy = Store::open(room.path())?;
    let all = copy.read(|tx| match apps::system(tx)? {
        None => Ok(Vec::new()),
        Some(app) => releases::all(tx, &app.id),
    });
    let all = all.await?;
    let good = all.iter().filter(|release| release.status == ReleaseStatus::Succeeded);
    Ok(good.filter_map(|release| Version::of(release, &secrets).ok().flatten()).collect())
}

/// Has the next keeper run the program that is started, and be it, whichever version was good.
pub fn be_own(data: &Path) -> Result<(), RescueError> {
    let _lock = alone(data)?;
    let seat = settled(data);
    // It would end again and again, and with a state that it cannot read no app would be served either.
    if let Health::Newer { found, known } = examine(&data.join(STATE)) {
        return Err(RescueError::Newer { found, known });
    }
    give(data, &seat.given_to(None))
}

/// Has the next keeper run that version as the good one, whichever was.
pub async fn choose(config: &Config, number: u32) -> Result<(), RescueError> {
    let data = &config.data;
    let _lock = alone(data)?;
    let seat = settled(data);
    let (known, unread) = known(config).await;
    let chosen = known.into_iter().find(|version| version.number == number);
    let version = chosen.ok_or_else(|| unread.unwrap_or(RescueError::Unknown { number }))?;
    let slugs = Slugs::attach(config.slugs_dir());
    // What was laid out may be what is wrong with it; without a sound slug it is all there is.
    if slugs.verify(&version.slug).is_ok() {
        program::clear(data, &version).map_err(RescueError::Seat)?;
    }
    program::lay_out(data, &version, &slugs, &config.archives)
        .map_err(|source| RescueError::Program { number, source })?;
    give(data, &seat.given_to(Some(version)))
}

fn give(data: &Path, seat: &Seat) -> Result<(), RescueError> {
    seat::unwish(data).and_then(|()| seat.save(data)).map_err(RescueError::Seat)
}

/// Before files of the platform are replaced: a trial that was interrupted ends for good, or its end
/// would put back what was there before it. Nobody comes until what is returned is dropped.
pub fn settle_for_good(data: &Path) -> Result<Option<DataLock>, RescueError> {
    if !dir(data).exists() {
        return Ok(None);
    }
    let lock = alone(data)?;
    // One that cannot be read says of no trial, and is left as it is.
    if seat::read(data).is_ok_and(|seat| seat.trial.is_some()) {
        settled(data).save(data).map_err(RescueError::Seat)?;
    }
    // Its release may not be one of the platform that comes.
    seat::unwish(data).map_err(RescueError::Seat)?;
    Ok(Some(lock))
}

/// After they were replaced: nobody goes back behind that.
pub fn forget_trials(data: &Path) -> Result<(), RescueError> {
    if !dir(data).exists() {
        return Ok(());
    }
    before::forget(data).map_err(RescueError::Seat)
}

/// With no keeper and no platform, and none to come meanwhile.
fn alone(data: &Path) -> Result<DataLock, RescueError> {
    fs::create_dir_all(dir(data)).map_err(RescueError::Seat)?;
    let lock = DataLock::take(&dir(data)).map_err(RescueError::Kept)?;
    match instance::holder(data)? {
        Some(pid) => Err(RescueError::Runs { pid }),
        None => Ok(lock),
    }
}

/// A trial that was interrupted has failed, as when a keeper finds it.
fn settled(data: &Path) -> Seat {
    let seat = seat::read(data).unwrap_or_default();
    if let Some(version) = &seat.trial
        && let Err(error) = before::put_back(data, version)
    {
        let kept = before::hold(data, version);
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, kept = %kept.display(), "not all is as it was before the trial");
    }
    seat.taken_back("The platform was rescued meanwhile".into())
}
