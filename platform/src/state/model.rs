//! The nouns of the platform, as they are stored.

use jiff::Timestamp;
use lathe_slug::{DiffId, SlugId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

pub type Config = BTreeMap<String, String>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    pub id: String,
    pub email: String,
    pub created_at: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub id: String,
    pub account: Account,
    pub description: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct App {
    pub id: String,
    pub name: String,
    pub owner: Account,
    /// The Unix user and group that every dyno of this app runs as; never given to another app.
    pub uid: u32,
    /// Its releases are versions of the platform itself.
    pub system: bool,
    pub maintenance: bool,
    /// Its names get certificates from an authority by themselves.
    pub acm: bool,
    /// The release that serves.
    pub current: Option<u32>,
    /// The release that is about to serve, if it boots.
    pub candidate: Option<u32>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Something that an app's owner can switch on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feature {
    pub name: &'static str,
    /// None while it is off.
    pub enabled_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slug {
    pub id: String,
    pub app: String,
    /// None while the blob of an API-made slug has not been uploaded yet.
    pub digest: Option<SlugId>,
    pub diff_id: Option<DiffId>,
    pub bytes: u64,
    pub commit: Option<String>,
    pub stack: String,
    /// In Procfile order.
    pub process_types: Vec<(String, String)>,
    pub buildpacks: Vec<UsedBuildpack>,
    /// Defaults from `bin/release`, applied to the first release only.
    pub config_defaults: Config,
    /// What it was made from; none of one that was made elsewhere.
    pub inputs: Option<Inputs>,
    pub created_at: Timestamp,
}

impl Slug {
    pub fn command(&self, process_type: &str) -> Option<&str> {
        let found = self.process_types.iter().find(|(name, _)| name == process_type);
        found.map(|(_, command)| command.as_str())
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UsedBuildpack {
    pub name: String,
    pub url: String,
    pub commit: Option<String>,
    /// SHA-256 of its archive or its tree.
    #[serde(default)]
    pub digest: String,
    /// The reference that gives exactly this buildpack again.
    #[serde(default)]
    pub pinned: String,
    /// What it said of the build: versions of toolchains, most of all.
    #[serde(default)]
    pub report: BTreeMap<String, String>,
}

/// What a slug was made from, beside its buildpacks and its commit. Digests are SHA-256.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inputs {
    /// The version of Lathe, which holds the built-in buildpacks.
    pub lathe: String,
    /// The digest of the stack it was built on.
    pub build_stack: String,
    /// The source tree as the buildpacks found it.
    pub source: String,
    /// The files that pin dependencies or a toolchain, by name.
    pub locks: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    pub id: String,
    pub app: String,
    pub version: u32,
    pub slug: Option<Slug>,
    pub config: Config,
    pub description: String,
    pub status: ReleaseStatus,
    pub phase: Phase,
    /// Why it failed, for the user.
    pub failure: Option<String>,
    pub account: Account,
    /// What the release phase printed.
    pub output: Option<String>,
    /// What it has passed, the oldest first; each once.
    pub steps: Vec<Step>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Something a release has passed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    pub stage: Stage,
    pub at_ms: i64,
    /// Goes on from "Release v7".
    pub text: String,
}

/// The stages of a release's way, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its `release` process runs; of the platform's own, its rehearsal.
    Releasing,
    /// Its dynos start beside the old ones.
    Booting,
    /// It serves a share of the requests.
    Probation,
    /// It serves.
    Serving,
    /// Or it does not, or not any more.
    Failed,
    Expired,
}

/// Heroku's release statuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReleaseStatus {
    Pending,
    Succeeded,
    Failed,
    /// A newer release came before this one had booted.
    Expired,
}

/// How far a pending release has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The `release` process type has to run first.
    Releasing,
    /// Its dynos start beside the old ones.
    Booting,
    Done,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Formation {
    pub id: String,
    pub process_type: String,
    pub quantity: u32,
    /// A class name in canonical capitalisation.
    pub size: String,
    /// Raised by each restart of the whole type; part of a dyno's slot.
    pub restarts: u32,
    pub updated_at: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuildStatus {
    Pending,
    Succeeded,
    Failed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Build {
    pub id: String,
    pub app: String,
    pub account: Account,
    pub status: BuildStatus,
    pub source_version: String,
    pub buildpacks: Vec<UsedBuildpack>,
    pub stack: String,
    pub slug: Option<String>,
    pub release: Option<String>,
    /// The secret part of `output_stream_url`.
    pub output_token: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OneOff {
    /// The dyno's identity.
    pub id: String,
    pub app: String,
    /// `run.1234`.
    pub name: String,
    pub process_type: String,
    pub command: String,
    pub size: String,
    pub release: u32,
    pub attached: bool,
    pub state: OneOffState,
    pub status: Option<u8>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OneOffState {
    Starting,
    Up,
    Complete,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain {
    pub id: String,
    pub app: String,
    pub hostname: String,
    /// The id of the one that was chosen for it; none: whichever fits.
    pub certificate: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    pub id: String,
    pub app: String,
    pub name: String,
    /// PEM, the server's own first.
    pub chain: String,
    /// PEM.
    pub key: String,
    /// The name for which an authority has issued it; none of one that somebody gave.
    pub issued_for: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl fmt::Debug for Certificate {
    /// Without its key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How far a name has come on the way to a certificate of an authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    pub app: String,
    pub hostname: String,
    pub status: AcmStatus,
    /// Why there is none yet, for the user.
    pub reason: Option<String>,
    /// In a row.
    pub failures: u32,
    /// Not before then it is tried again.
    pub next_at: Timestamp,
    pub updated_at: Timestamp,
}

/// In Heroku's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcmStatus {
    Issued,
    /// It will be tried again soon.
    Failing,
    /// It has failed so often that it is tried now and then only.
    Failed,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drain {
    pub id: String,
    pub app: String,
    pub url: String,
    pub token: String,
    pub created_at: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collaborator {
    pub id: String,
    pub account: Account,
    pub owner: bool,
    pub created_at: Timestamp,
}

/// The stored words of an enum, in one place for both directions.
macro_rules! stored_as {
    ($kind:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $kind {
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl rusqlite::types::FromSql for $kind {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(rusqlite::types::FromSqlError::InvalidType),
                }
            }
        }

        impl rusqlite::ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }
    };
}

stored_as!(AcmStatus { Issued = "cert issued", Failing = "failing", Failed = "failed" });
stored_as!(ReleaseStatus { Pending = "pending", Succeeded = "succeeded", Failed = "failed", Expired = "expired" });
stored_as!(Phase { Releasing = "releasing", Booting = "booting", Done = "done" });
stored_as!(BuildStatus { Pending = "pending", Succeeded = "succeeded", Failed = "failed" });
stored_as!(OneOffState { Starting = "starting", Up = "up", Complete = "complete" });
