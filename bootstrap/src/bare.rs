//! The same source compiled by cargo alone: what a stage is held against.

use crate::Stop;
use crate::compiling::{Counting, Crates, Total};
use crate::downloads::Downloads;
use crate::program::{ProgramError, run};
use crate::source::Source;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why there is nothing to hold a stage against.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    #[error("there is no cargo on this machine, or no Cargo.lock in the source")]
    NoCargo,
    #[error("cargo does not compile it")]
    Cargo(#[from] ProgramError),
    #[error("cannot remove {}", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// How long `cargo build --release --locked` takes from nothing, its downloads at hand.
pub(crate) fn build(
    source: &Source,
    downloads: Option<&Downloads>,
    target: &Path,
    stop: &Stop,
    tell: &mut dyn FnMut(Crates),
) -> Result<Duration, BareError> {
    let mut command = downloads.ok_or(BareError::NoCargo)?.cargo(source);
    command.args(["build", "--release", "--locked", "--target-dir"]).arg(target);
    command.env("CARGO_INCREMENTAL", "0");
    let begun = Instant::now();
    let total = source.packages.map_or(Total::Unknown, Total::AtMost);
    let mut counting = Counting::begin(total, begun);
    run("cargo build", command, stop, &mut |heard| {
        if counting.hear(heard, Instant::now()) {
            tell(counting.crates);
        }
    })?;
    let took = begun.elapsed();
    fs::remove_dir_all(target)
        .map_err(|source| BareError::Remove { path: target.to_owned(), source })?;
    Ok(took)
}
