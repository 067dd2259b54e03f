//! What cargo needs from its registry, fetched once, so that no stage waits for the network.

use crate::Stop;
use crate::program::{ProgramError, run};
use crate::source::Source;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadsError {
    #[error("cargo does not fetch it")]
    Cargo(#[from] ProgramError),
    #[error("cannot make {}", path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Sources of crates, checked by cargo against `Cargo.lock`: nothing compiled is among them.
#[derive(Debug)]
pub(crate) struct Downloads {
    /// For the setting `build.mirror`.
    pub(crate) mirror: PathBuf,
}

impl Downloads {
    /// None where there is nothing to fetch, or no cargo: then every stage downloads for itself.
    pub(crate) fn fetch(
        source: &Source,
        dir: &Path,
        stop: &Stop,
    ) -> Result<Option<Self>, DownloadsError> {
        if source.packages.is_none() {
            return Ok(None);
        }
        let downloads = Self { mirror: dir.to_owned() };
        let path = downloads.cargo_home();
        fs::create_dir_all(&path).map_err(|source| DownloadsError::Make { path, source })?;
        let mut command = downloads.cargo(source);
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        command.args(["fetch", "--locked", "--target", &target]);
        match run("cargo fetch", command, stop, &mut |_| {}) {
            Err(ProgramError::Spawn { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            fetched => {
                fetched?;
                Ok(Some(downloads))
            }
        }
    }

    /// Where the Rust buildpack looks for it below the mirror.
    fn cargo_home(&self) -> PathBuf {
        self.mirror.join("cargo")
    }

    /// The host's cargo in the source, with these downloads and none of its own.
    pub(crate) fn cargo(&self, source: &Source) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(&source.tree).env("CARGO_HOME", self.cargo_home());
        command.envs([("CARGO_TERM_COLOR", "never"), ("CARGO_TERM_PROGRESS_WHEN", "never")]);
        command
    }
}
