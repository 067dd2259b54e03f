//! What keeper and platform tell each other: which version is good, which is on trial, which is wished for.

use super::{Version, dir};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// What the keeper says; it alone writes it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Seat {
    /// None: the program that the keeper itself is.
    pub good: Option<Version>,
    pub trial: Option<Version>,
    /// What became of the last trial.
    pub verdict: Option<Verdict>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    pub version: Version,
    /// None: it is the good one.
    pub failure: Option<String>,
}

impl Seat {
    /// The version that is to run.
    pub(super) fn version(&self) -> Option<&Version> {
        self.trial.as_ref().or(self.good.as_ref())
    }

    pub(super) fn on_trial(self, version: Version) -> Self {
        Self { trial: Some(version), ..self }
    }

    /// With the version on trial as the good one.
    pub(super) fn kept(self) -> Self {
        match self.trial {
            None => self,
            Some(version) => Self {
                good: Some(version.clone()),
                trial: None,
                verdict: Some(Verdict { version, failure: None }),
            },
        }
    }

    /// With the good one as before, and the reason.
    pub(super) fn taken_back(self, why: String) -> Self {
        match self.trial {
            None => self,
            Some(version) => Self {
                good: self.good,
                trial: None,
                verdict: Some(Verdict { version, failure: Some(why) }),
            },
        }
    }

    pub(super) fn save(&self, data: &Path) -> io::Result<()> {
        write(&seat_file(data), self)
    }
}

fn seat_file(data: &Path) -> PathBuf {
    dir(data).join("seat.json")
}

fn wish_file(data: &Path) -> PathBuf {
    dir(data).join("wish.json")
}

/// What the keeper has written down last.
pub fn read(data: &Path) -> io::Result<Seat> {
    Ok(load(&seat_file(data))?.unwrap_or_default())
}

/// Asks the keeper for a version, once: a verdict answers.
pub(super) fn wish(data: &Path, version: &Version) -> io::Result<()> {
    write(&wish_file(data), version)
}

/// What was wished for last.
pub(super) fn wished(data: &Path) -> io::Result<Option<Version>> {
    load(&wish_file(data))
}

fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    lathe_slug::fs::atomic_write(path, &serde_json::to_vec_pretty(value)?, 0o600)
}
