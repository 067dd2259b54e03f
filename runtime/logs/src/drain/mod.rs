//! Drains: every line of an app, sent on to a server of the owner's choice.

use crate::AppId;
use std::fmt;

/// All drains there are: a later generation replaces an earlier one as a whole.
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
