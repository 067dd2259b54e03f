//! What passes between a builder and the worker it started: a job and its source in, an outcome back.

use crate::error::CompileError;
use crate::job::{Cancel, Compiled, Job};
use lathe_slug::PackLimits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

/// First bytes of a job, with the version of this format.
const MAGIC: &[u8; 12] = b"lathe-job/1\n";
const HEADER_BYTES_MAX: u32 = 8 << 20;

/// The part of a [`Job`] its builder decides. The folders are the worker's constants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobHeader {
    pub env: BTreeMap<String, String>,
    pub extra_env: BTreeMap<String, String>,
    pub stack: String,
    pub buildpack_stack: String,
    pub source_version: String,
    pub request_id: String,
    pub buildpacks: Vec<String>,
    pub builtin_dir: PathBuf,
    pub registry_dir: Option<PathBuf>,
    pub order: Vec<String>,
    pub source_date_epoch: u64,
    pub timeout_ms: u64,
    pub fetch_timeout_ms: u64,
    pub fetch_bytes_max: u64,
    pub output_bytes_max: u64,
    pub cache_bytes_max: u64,
    pub limits: PackLimits,
    /// The source is an archive that somebody made: when all of it is in one folder, as in those
    /// that code hosts offer, the app is what is in that folder.
    #[serde(default)]
    pub is_archive: bool,
}

impl JobHeader {
    pub fn into_job(self, cancel: Cancel) -> Job {
        Job {
            env: self.env,
            extra_env: self.extra_env,
            stack: self.stack,
            buildpack_stack: self.buildpack_stack,
            source_version: self.source_version,
            request_id: self.request_id,
            buildpacks: self.buildpacks,
            builtin_dir: self.builtin_dir,
            registry_dir: self.registry_dir,
            order: self.order,
            source_date_epoch: self.source_date_epoch,
            timeout: Duration::from_millis(self.timeout_ms),
            fetch_timeout: Duration::from_millis(self.fetch_timeout_ms),
            fetch_bytes_max: self.fetch_bytes_max,
            output_bytes_max: self.output_bytes_max,
            cache_bytes_max: self.cache_bytes_max,
            limits: self.limits,
            cancel,
            ..Job::default()
        }
    }
}

impl From<&Job> for JobHeader {
    fn from(job: &Job) -> Self {
        Self {
            env: job.env.clone(),
            extra_env: job.extra_env.clone(),
            stack: job.stack.clone(),
            buildpack_stack: job.buildpack_stack.clone(),
            source_version: job.source_version.clone(),
            request_id: job.request_id.clone(),
            buildpacks: job.buildpacks.clone(),
            builtin_dir: job.builtin_dir.clone(),
            registry_dir: job.registry_dir.clone(),
            order: job.order.clone(),
            source_date_epoch: job.source_date_epoch,
            timeout_ms: millis(job.timeout),
            fetch_timeout_ms: millis(job.fetch_timeout),
            fetch_bytes_max: job.fetch_bytes_max,
            output_bytes_max: job.output_bytes_max,
            cache_bytes_max: job.cache_bytes_max,
            limits: job.limits,
            is_archive: false,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How a build ended: JSON, one document, at most one of these per worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Compiled(Box<Compiled>),
    Failed {
        /// One word: `source`, `fetch`, `detect`, `compile`, `export`, `release`, `pack`, …
        step: String,
        /// What happened.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
}

impl From<Result<Compiled, CompileError>> for Outcome {
    fn from(result: Result<Compiled, CompileError>) -> Self {
        match result {
            Ok(compiled) => Self::Compiled(Box::new(compiled)),
            Err(error) => Self::Failed {
                step: error.step().to_owned(),
                reason: error.reason(),
                remedy: error.remedy().to_owned(),
            },
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("could not read the job")]
    Read(#[source] io::Error),
    #[error("could not write the job")]
    Write(#[source] io::Error),
    #[error("the input is no job of this version")]
    Magic,
    #[error("a job header of {bytes} bytes is more than {HEADER_BYTES_MAX}")]
    TooLong { bytes: u64 },
    #[error("the job header is not valid")]
    Header(#[source] serde_json::Error),
}

/// Writes the header; a plain tar of the source follows it on the same stream.
///
/// Format: `lathe-job/1\n`, length of the header in bytes (4, big-endian), header as JSON.
pub fn write_job(out: &mut impl Write, header: &JobHeader) -> Result<(), WireError> {
    let json = serde_json::to_vec(header).map_err(WireError::Header)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= HEADER_BYTES_MAX);
    let length = length.ok_or(WireError::TooLong { bytes: json.len() as u64 })?;
    [&MAGIC[..], &length.to_be_bytes(), &json]
        .into_iter()
        .try_for_each(|part| out.write_all(part))
        .map_err(WireError::Write)
}

/// Reads the header and not one byte more.
pub fn read_job(input: &mut impl Read) -> Result<JobHeader, WireError> {
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic).map_err(WireError::Read)?;
    if magic != *MAGIC {
        return Err(WireError::Magic);
    }
    let mut length = [0; 4];
    input.read_exact(&mut length).map_err(WireError::Read)?;
    let length = u32::from_be_bytes(length);
    if length > HEADER_BYTES_MAX {
        return Err(WireError::TooLong { bytes: length.into() });
    }
    let mut json = vec![0; length as usize];
    input.read_exact(&mut json).map_err(WireError::Read)?;
    serde_json::from_slice(&json).map_err(WireError::Header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_back_as_it_was_and_leaves_the_rest() {
        let job = Job { env: BTreeMap::from([("A".into(), "ä\n".into())]), ..Job::default() };
        let header = JobHeader::from(&job);
        let mut bytes = Vec::new();
        write_job(&mut bytes, &header).unwrap();
        bytes.extend_from_slice(b"tar follows");
        let mut rest = &bytes[..];
        assert_eq!(read_job(&mut rest).unwrap(), header);
        assert_eq!(rest, b"tar follows");
        let back = header.into_job(Cancel::default());
        assert_eq!(back.timeout, job.timeout);
        assert_eq!(back.limits, job.limits);
    }

    #[test]
    fn what_is_no_job_is_refused() {
        let cases: [&[u8]; 4] = [
            b"",
            b"GET / HTTP/1.1\r\n\r\n",
            b"lathe-job/1\n\xff\xff\xff\xff",
            b"lathe-job/1\n\0\0\0\x02[]",
        ];
        for bytes in cases {
            assert!(read_job(&mut &bytes[..]).is_err());
        }
    }
}
