//! The compiler inside a build dyno: job and source on stdin, slug and outcome on pipes of their own.

use crate::job::{Cancel, Job};
use crate::transcript::Transcript;
use crate::wire::{Outcome, WireError, read_job};
use lathe_slug::{Layout, UnpackError, unpack_tar};
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error("the job could not be understood")]
    Job(#[source] WireError),
    #[error("the source could not be unpacked")]
    Source(#[source] UnpackError),
    #[error("the folder in the archive could not be entered")]
    Folder(#[source] io::Error),
}

/// Does one job and returns the exit status: 0 with a slug written, 1 without. What happened is in
/// `outcome` either way, unless its reader is gone.
pub fn run_worker(
    mut input: impl Read,
    mut out: Transcript,
    slug: impl Write,
    mut outcome: impl Write,
    cancel: Cancel,
) -> u8 {
    let result = match receive(&mut input, cancel) {
        Ok(job) => match crate::compile(&job, &mut out, slug).into() {
            // The builder logs it: no place for what the transcript hides.
            Outcome::Failed { step, reason, remedy } => {
                Outcome::Failed { step, reason: out.masked(&reason), remedy }
            }
            done @ Outcome::Compiled(_) => done,
        },
        Err(error) => refused(&error, &mut out),
    };
    let done = matches!(result, Outcome::Compiled(_));
    let told = serde_json::to_writer(&mut outcome, &result).is_ok() && outcome.flush().is_ok();
    u8::from(!(done && told))
}

/// Reads the job and unpacks its source to the build folder, times set to now: build tools take an
/// old time for "unchanged".
fn receive(input: &mut impl Read, cancel: Cancel) -> Result<Job, WorkerError> {
    let header = read_job(input).map_err(WorkerError::Job)?;
    let is_archive = header.is_archive;
    let job = header.into_job(cancel);
    unpack_tar(input, &job.build_dir, Layout::Tree, &job.limits, None)
        .map_err(WorkerError::Source)?;
    if is_archive {
        lift_only_folder(&job.build_dir).map_err(WorkerError::Folder)?;
    }
    Ok(job)
}

/// Makes the folder that holds everything in `dir` the `dir`; does nothing where there are more.
fn lift_only_folder(dir: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(dir)?;
    let (Some(first), None) = (entries.next(), entries.next()) else { return Ok(()) };
    let first = first?;
    if !first.file_type()?.is_dir() {
        return Ok(());
    }
    let aside = dir.with_extension("only-folder");
    fs::rename(first.path(), &aside)?;
    fs::remove_dir(dir)?;
    fs::rename(aside, dir)
}

fn refused(error: &WorkerError, out: &mut Transcript) -> Outcome {
    let reason = crate::error::with_causes(error);
    let remedy = "Remove what the message names from the repository and push again.".to_owned();
    out.error(&reason);
    out.error(&remedy);
    Outcome::Failed { step: "source".to_owned(), reason, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_folder_is_the_app_and_more_are_not() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("build");
        fs::create_dir_all(dir.join("app-1.0/bin")).unwrap();
        fs::write(dir.join("app-1.0/Procfile"), "web: x").unwrap();
        lift_only_folder(&dir).unwrap();
        assert!(dir.join("Procfile").exists() && dir.join("bin").exists());
        lift_only_folder(&dir).unwrap();
        assert!(dir.join("Procfile").exists());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
