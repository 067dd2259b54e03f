//! Drains: every line of an app, sent on to a server of the owner's choice.

mod address;
mod backoff;
mod connect;
mod crew;
mod http;
mod mark;
mod message;
mod outbox;
mod policy;
mod queue;
mod syslog;
mod target;
mod worker;

pub use address::{Network, ParseNetworkError, Reach};
pub(crate) use crew::{Crew, Routes};
pub(crate) use mark::{Left, Mark};
pub use policy::Policy;
pub use target::{Target, TargetError};

use crate::AppId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// All drains there are: a later generation replaces an earlier one as a whole.
/// Generation 0 means that nothing is known yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DrainTable {
    pub generation: u64,
    pub drains: Vec<Drain>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Drain {
    pub id: String,
    pub app: AppId,
    /// `d.<uuid>`, by which the receiver knows the drain.
    pub token: String,
    /// See [`Target`] for what is understood.
    pub url: String,
}

/// Without the URL, which may carry a password.
impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("id", &self.id)
            .field("app", &self.app)
            .finish_non_exhaustive()
    }
}

/// Where a drain's lines went: `taken = delivered + dropped + pending`, always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DrainCounts {
    pub taken: u64,
    pub delivered: u64,
    pub dropped: u64,
    pub pending: u64,
}
