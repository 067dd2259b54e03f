//! A version of the platform: a release of the system app, and all that is needed to run it.

use super::program;
use crate::state::StateError;
use crate::state::model::{Config, Release};
use crate::state::secrets::Secrets;
use crate::state::system::Programs;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lathe_slug::SlugId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A release of the system app, as the keeper can run it with no state to ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The release's id: never used again.
    pub release: String,
    pub number: u32,
    pub slug: SlugId,
    /// Relative to the slug's directory `app`.
    pub program: PathBuf,
    /// The router's: none where the Procfile has none, and then the platform's program is it.
    #[serde(default)]
    pub(super) router: Option<PathBuf>,
    /// The keeper's. As the router's.
    #[serde(default)]
    keeper: Option<PathBuf>,
    /// Its config vars: JSON, sealed with the key of the state, in base64.
    config: String,
}

impl Version {
    /// None of a release without a slug: it is the program that the keeper itself is.
    pub(super) fn of(release: &Release, secrets: &Secrets) -> Result<Option<Self>, StateError> {
        let Some((slug, digest)) =
            release.slug.as_ref().and_then(|slug| Some((slug, slug.digest?)))
        else {
            return Ok(None);
        };
        let Programs { platform, router, keeper } = Programs::of(slug)?;
        let config = secrets.seal(&release.id, &serde_json::to_vec(&release.config)?);
        Ok(Some(Self {
            release: release.id.clone(),
            number: release.version,
            slug: digest,
            program: platform,
            router,
            keeper,
            config: BASE64_STANDARD.encode(config),
        }))
    }

    /// Whether there is a program to be started.
    pub fn is_laid_out(&self, data: &Path) -> bool {
        self.program(data).is_some()
    }

    /// Where it is, if it is there and as it was.
    pub fn program(&self, data: &Path) -> Option<PathBuf> {
        program::find(data, self, &self.program)
    }

    /// All that is run of it.
    pub(super) fn programs(&self) -> impl Iterator<Item = &Path> {
        let own = self.router.iter().chain(&self.keeper).map(PathBuf::as_path);
        std::iter::once(self.program.as_path()).chain(own)
    }

    pub(super) fn keeper(&self) -> &Path {
        self.keeper.as_ref().unwrap_or(&self.program)
    }

    /// Its config vars, which are its environment.
    pub(super) fn environment(&self, secrets: &Secrets) -> Result<Config, StateError> {
        let sealed = BASE64_STANDARD.decode(&self.config).map_err(|_| StateError::Decrypt)?;
        Ok(serde_json::from_slice(&secrets.open_sealed(&self.release, &sealed)?)?)
    }
}

#[cfg(test)]
pub(super) fn sample(number: u32) -> Version {
    Version {
        release: format!("r{number}"),
        number,
        slug: "ab".repeat(32).parse().unwrap(),
        program: "bin/lathe".into(),
        router: None,
        keeper: None,
        config: String::new(),
    }
}
