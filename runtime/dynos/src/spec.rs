//! The words the cell and its caller share: what shall run, and what does run.

use crate::checks::{Checks, Finding};
use crate::class::{Class, Tenant};
use imbl::OrdMap;
use lathe_logs::AppId;
use lathe_slug::SlugId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The app whose dynos are parts of the platform itself. No app of a user has an id like this.
pub const SYSTEM_APP: &str = "lathe";

/// The identity of one started container. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct DynoId(pub Uuid);

impl DynoId {
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for DynoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place that shall be filled by one running dyno, named by the caller:
/// same slot, same dyno; another slot, another dyno. Opaque to the cell.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Slot(pub String);

/// What a dyno is made of. Everything that decides what runs is in here.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DynoSpec {
    pub app: AppId,
    /// `web.1`: the name in logs and in `$DYNO`.
    pub name: String,
    /// The app's own user on this machine; group likewise.
    pub uid: u32,
    /// Root of the stack's file system on this machine, mounted read-only below everything.
    pub stack: PathBuf,
    /// The slug to run; none for a dyno that brings no code (a build dyno).
    pub slug: Option<SlugId>,
    /// Run by `bash -c` after `.profile.d/*.sh` and `.profile`, in `/app`.
    pub command: String,
    /// The whole environment but what the cell adds: `DYNO`, `PORT`, `HOME`, `PATH`.
    pub env: BTreeMap<String, String>,
    pub class: Class,
    /// The dyno is up when it listens on this port (`$PORT`); without one it is up when it runs.
    pub port: Option<u16>,
}

impl DynoSpec {
    /// The dyno as far as room is concerned.
    pub fn tenant(&self) -> Tenant<'_> {
        (self.app.as_str(), &self.name, &self.class)
    }
}

/// Everything that shall run on this cell: always the complete list. A copy costs next to nothing, and
/// so does finding what differs from another version of it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Desired {
    pub generation: u64,
    pub dynos: OrdMap<Slot, Arc<Wanted>>,
}

/// One slot's dyno and how it may be treated.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Wanted {
    pub spec: DynoSpec,
    /// From launch to listening on the port, else it is ended (R10).
    pub boot_timeout: Duration,
    /// From SIGTERM to SIGKILL (R12).
    pub stop_grace: Duration,
    /// Of a dyno with a port only.
    #[serde(default)]
    pub checks: Checks,
    /// What it uses is told in its app's log (log-runtime-metrics).
    #[serde(default)]
    pub metrics: bool,
}

/// What the cell sees, as a whole; sent again after each change, and copied as cheaply.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Observed {
    /// The generation of `Desired` that this answers.
    pub generation: u64,
    pub dynos: OrdMap<Slot, ObservedDyno>,
}

/// One slot as the cell sees it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ObservedDyno {
    /// The container, while there is one.
    pub id: Option<DynoId>,
    pub state: DynoState,
    pub address: Option<Ipv4Addr>,
    /// Unix time in milliseconds of the last change of `state`.
    pub since_ms: u64,
    /// Crashes in a row since the slot appeared or was last up for long.
    pub crashes: u32,
    /// It may get requests: it is up, and says that it is ready if that is asked of it.
    #[serde(default)]
    pub ready: bool,
    /// It is up and its health check fails.
    #[serde(default)]
    pub ailing: Option<Finding>,
    /// Why the last one ended, for whoever has to explain it.
    pub last_end: Option<End>,
}

/// Heroku's dyno states, `stopping` added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DynoState {
    Starting,
    Up,
    Stopping,
    /// Ended; a restart is due now or later.
    Crashed,
}

/// How and why a dyno ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct End {
    /// 0..=255; a process killed by signal n reports 128 + n.
    pub status: u8,
    pub cause: EndCause,
    /// The most memory it ever used, bytes.
    pub memory_peak_bytes: u64,
    /// Ports it listened on when it was ended for not listening on `$PORT`.
    pub listened: Vec<u16>,
    /// What it said last, oldest first; a few short lines.
    pub last_lines: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// By itself.
    Exit,
    /// It did not listen on `$PORT` in time (R10).
    BootTimeout,
    /// The kernel ended it for using more memory than its class has.
    OutOfMemory,
    /// We asked it to end.
    Stopped,
    /// We asked, and it did not (R12).
    Killed,
    /// It vanished, and nobody knows how it ended.
    Lost,
    /// It could not be started at all; the text says at which step.
    StartFailed(String),
}
