//! The places and the environment of one build: made at its start, gone at its end.

use crate::buildpack::{Buildpack, Errand};
use crate::environment::{scrubbed, write_env_dir};
use crate::error::CompileError;
use crate::job::Job;
use crate::program::{Captured, Program, Watch};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A disk with less room than this has failed whatever was written last.
const ROOM_BYTES_MIN: u64 = 256 << 10;

/// Open while the build runs; dropping it removes what it made.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) job: &'a Job,
    pub(crate) watch: Watch,
    /// Grows with what buildpacks export.
    pub(crate) env: BTreeMap<String, OsString>,
    made_home: bool,
}

impl<'a> Site<'a> {
    pub(crate) fn open(job: &'a Job) -> Result<Self, CompileError> {
        remove(&job.work_dir)?;
        remove(&job.env_dir)?;
        for dir in [&job.work_dir, &job.cache_dir] {
            create(dir)?;
        }
        let made_home = !job.home.exists();
        create(&job.home)?;
        let log_file = job.work_dir.join("buildpack.log");
        fs::write(&log_file, "")
            .map_err(|source| CompileError::Prepare { path: log_file.clone(), source })?;
        let site = Self {
            job,
            watch: Watch::new(job.timeout, job.cancel.clone()),
            env: scrubbed(job, &log_file),
            made_home,
        };
        write_env_dir(&job.env_dir, &job.env)?;
        Ok(site)
    }

    /// Where the buildpack at `index` of the build lives: a constant path, since a buildpack may
    /// write it into what it makes.
    pub(crate) fn buildpack_dir(&self, index: usize) -> PathBuf {
        self.job.work_dir.join(format!("buildpack-{index}"))
    }

    pub(crate) fn errand(&self) -> Errand<'_> {
        let Job { work_dir, fetched_dir, limits, fetch_timeout, fetch_bytes_max, .. } = self.job;
        Errand {
            env: &self.env,
            watch: &self.watch,
            limit: *fetch_timeout,
            bytes_max: *fetch_bytes_max,
            limits,
            scratch: work_dir,
            kept: fetched_dir,
        }
    }

    /// A program of `pack` with `BUILD_DIR` as its argument, or with all three folders. Its working
    /// directory is the buildpack's, on which some rely.
    pub(crate) fn program<'b>(
        &'b self,
        pack: &'b Buildpack,
        path: &'b Path,
        folders: Folders,
    ) -> Program<'b> {
        let build = self.job.build_dir.clone().into();
        let args = match folders {
            Folders::Build => vec![build],
            Folders::BuildCacheEnv => {
                vec![build, self.job.cache_dir.clone().into(), self.job.env_dir.clone().into()]
            }
        };
        Program { path, args, cwd: &pack.dir, env: &self.env }
    }

    /// Runs a program that answers on stdout, within what is left of the build's time.
    pub(crate) fn ask(
        &self,
        program: &Program<'_>,
        limit: Duration,
        bytes_max: usize,
    ) -> io::Result<Captured> {
        program.capture(&self.watch.at_most(limit), bytes_max)
    }

    /// The size of the build's disk in bytes, when it is full.
    pub(crate) fn full_disk(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.job.build_dir).ok()?;
        let no_room = disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_BYTES_MIN;
        let no_names = disk.f_files > 0 && disk.f_favail == 0;
        (no_room || no_names).then(|| disk.f_blocks.saturating_mul(disk.f_frsize))
    }
}

/// Which folders a program is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Folders {
    Build,
    BuildCacheEnv,
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        if self.made_home {
            fs::remove_dir_all(&self.job.home).ok();
        }
        fs::remove_dir_all(&self.job.env_dir).ok();
        fs::remove_dir_all(&self.job.work_dir).ok();
    }
}

fn create(dir: &Path) -> Result<(), CompileError> {
    fs::create_dir_all(dir).map_err(|source| CompileError::Prepare { path: dir.to_owned(), source })
}

fn remove(dir: &Path) -> Result<(), CompileError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CompileError::Prepare { path: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}
