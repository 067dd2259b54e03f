//! Dyno classes: what a dyno of each size may use. Numbers: Heroku's dyno types (2024).

use serde::{Deserialize, Serialize};

/// One dyno size. All limits are per dyno.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Class {
    /// Canonical capitalisation, as the Heroku CLI prints it: `Standard-1X`.
    pub name: String,
    pub memory_bytes: u64,
    /// Relative weight under contention (cgroup v1 `cpu.shares`).
    pub cpu_shares: u32,
    /// Hard cap in thousandths of one CPU; none = no cap.
    pub cpu_millis_max: Option<u32>,
    /// Processes and threads together.
    pub pids_max: u32,
    /// What the dyno may write outside its memory: the size of its writable layer.
    pub disk_bytes: u64,
}
