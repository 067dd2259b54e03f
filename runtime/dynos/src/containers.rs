//! The seam between the cell and whatever makes containers: native, docker or the fake.

use crate::spec::{DynoId, DynoSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What to start, beyond the dyno itself: where its bytes go and what else it may see.
#[derive(Debug)]
pub struct Start {
    pub id: DynoId,
    pub spec: DynoSpec,
    /// Kept by the engine across restarts of the cell and given back by `list`.
    pub labels: BTreeMap<String, String>,
    pub stdio: Stdio,
    pub mounts: Vec<Mount>,
    /// Passed as descriptors 3, 4, … of the first process.
    pub extra_fds: Vec<OwnedFd>,
    /// `argv` to execute instead of the dyno command through bash (a build dyno).
    pub argv: Option<Vec<String>>,
}

/// Where the first process reads and writes.
#[derive(Debug)]
pub enum Stdio {
    /// stdin is empty, stdout and stderr go to pipes that the engine keeps open and buffers
    /// while nobody reads; read them with `Containers::output`.
    Logged,
    /// The caller's own descriptors; they end with the caller.
    Given { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    /// A pseudo-terminal inside the container; its master comes back in `Started`.
    Terminal { rows: u16, columns: u16 },
}

/// A host directory or file, or a file-system image, that the dyno sees.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Mount {
    pub source: MountSource,
    /// Absolute path inside; created when missing.
    pub target: PathBuf,
    pub writable: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum MountSource {
    /// Bound as it is.
    Path(PathBuf),
    /// A sparse ext4 image of at most `bytes`, made when missing, mounted for this dyno alone.
    Image { path: PathBuf, bytes: u64 },
}

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    pub pid: u32,
    pub address: Ipv4Addr,
    pub terminal: Option<OwnedFd>,
}

/// A container the engine knows of, running or ended, until it is forgotten.
#[derive(Clone, PartialEq, Debug)]
pub struct Known {
    pub id: DynoId,
    pub pid: u32,
    pub address: Ipv4Addr,
    pub labels: BTreeMap<String, String>,
    pub spec: DynoSpec,
    /// Unix time in milliseconds.
    pub started_ms: u64,
    pub ended: Option<Ended>,
}

/// How a container ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// 0..=255; 128 + n for a process ended by signal n.
    pub status: u8,
    /// The kernel killed a process of it for memory.
    pub oom_killed: bool,
    pub memory_peak_bytes: u64,
    /// Unix time in milliseconds.
    pub at_ms: u64,
}
