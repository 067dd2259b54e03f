//! What keeper and platform tell each other: which version is good, which is on trial, which is wished for.

use super::process::OWN;
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
    /// Whose program was to be the keeper and has not been seen to be one yet.
    pub(super) handed: Option<Handed>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Handed {
    release: String,
    times: u32,
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

    /// Whose program is to keep what is to run.
    pub(super) fn heir(&self) -> &str {
        self.version().map_or(OWN, |version| version.release.as_str())
    }

    /// How often that release's program was made the keeper since it was last seen to be one.
    pub(super) fn times_handed(&self, release: &str) -> u32 {
        let it = |handed: &&Handed| handed.release == release;
        self.handed.as_ref().filter(it).map_or(0, |handed| handed.times)
    }

    /// With the heir as the keeper, who has to prove it.
    pub(super) fn handed_over(self) -> Self {
        let (release, times) = (self.heir().to_owned(), self.times_handed(self.heir()) + 1);
        Self { handed: Some(Handed { release, times }), ..self }
    }

    pub(super) fn proven(self) -> Self {
        Self { handed: None, ..self }
    }

    /// With that version as the good one, or with the program that is started; none is on trial.
    pub(super) fn given_to(self, good: Option<Version>) -> Self {
        Self { good, trial: None, handed: None, ..self }
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
                handed: None,
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
                handed: None,
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

/// Nothing is wished for any more: who chooses by hand does not want what was wished for before.
pub(super) fn unwish(data: &Path) -> io::Result<()> {
    match std::fs::remove_file(wish_file(data)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
