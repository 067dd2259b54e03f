//! The route table: host → app → dynos. Always a complete snapshot with a generation number.

use lathe_logs::AppId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

/// A complete table. A router replaces its table only by one of a higher generation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Routes {
    pub generation: u64,
    /// Lower-case host name without port → app.
    pub hosts: HashMap<String, AppId>,
    pub apps: BTreeMap<AppId, Arc<AppRoute>>,
}

/// Where one app's requests go, or why they cannot go anywhere.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AppRoute {
    pub name: String,
    pub availability: Availability,
    /// The version of the release that serves; 0 before the first. The router does not need it:
    /// who waits for a release to serve looks for it in the table that is in force.
    #[serde(default)]
    pub release: u32,
    /// Dynos that are up, in dyno order. Empty unless `Serving`.
    pub targets: Vec<Target>,
}

/// What the router may say when there is no target; one Heroku H-code each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    Serving,
    /// Dynos are starting: a request waits for one, at most 75 s (H20).
    Booting,
    /// Its dynos sleep until somebody asks: a request wakes them, and waits like for `Booting`.
    Asleep,
    /// Every web dyno has crashed (H10).
    Crashed,
    /// The web process type is scaled to zero or does not exist (H14).
    NoWeb,
    /// Maintenance mode (H80).
    Maintenance,
    /// Nothing was ever deployed (H81).
    Blank,
}

/// One dyno that takes requests. `dyno` is its identity and is never used again;
/// `address` may later belong to another dyno.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target {
    pub dyno: String,
    /// `web.1`, for log lines.
    pub name: String,
    pub address: SocketAddr,
    /// Its share of the requests, in proportion to those of the others.
    #[serde(default = "even")]
    pub weight: u32,
}

fn even() -> u32 {
    1
}
