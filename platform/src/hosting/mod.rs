//! Which version of Lathe runs on a data directory: the last good one, or one on trial.
//!
//! A keeper, outside the platform, starts it, and takes a new version back that does not start, hangs,
//! ends or answers wrongly within its probation. Keeper and platform speak by two files, each with one
//! writer: the platform wishes for a version, the keeper says what became of it.

mod before;
mod decide;
mod keeper;
mod own_log;
mod probe;
mod process;
mod program;
mod rehearsal;
mod seat;
mod turn;
mod upgrade;
mod version;

pub use keeper::{KeeperError, be_own, keep};
pub use own_log::{OwnLog, connect as connect_log};
pub use seat::{Seat, Verdict, read as seat};
pub use upgrade::run;
pub use version::Version;

pub use crate::host::instance::keeper_dir as dir;
use std::ffi::OsString;

/// How a platform is started, whichever version it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Settings, by flags; before the verb.
    pub flags: Vec<OsString>,
    /// Further flags of the verb `up`.
    pub up: Vec<OsString>,
}
