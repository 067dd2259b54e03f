//! Which version of Lathe runs on a data directory: the last good one, or one on trial.
//!
//! A keeper, outside the platform, starts it, and takes a new version back that does not start, hangs,
//! ends or answers wrongly within its probation. Keeper and platform speak by two files, each with one
//! writer: the platform wishes for a version, the keeper says what became of it. A version that is good
//! brings the next keeper along.

mod before;
mod decide;
mod keeper;
mod own_log;
mod parts;
mod probe;
mod process;
mod program;
mod rehearsal;
mod rescue;
mod seat;
mod succession;
mod turn;
mod upgrade;
mod version;

pub use keeper::{KeeperError, keep};
pub use own_log::{OwnLog, connect as connect_log, of_part, say};
pub use parts::{Anew, Part, Parts};
pub use process::OWN;
pub use program::{ProgramError, of_router};
pub use rehearsal::MIGRATE;
pub use rescue::{RescueError, be_own, choose, forget_trials, known, settle_for_good};
pub use seat::{Seat, Verdict, read as seat};
pub use succession::{AccountError, VERB as HEIR, account, hear};
pub use upgrade::run;
pub use version::Version;

pub use crate::host::instance::keeper_dir as dir;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

/// How a platform is started, whichever version it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Settings, by flags; before the verb.
    pub flags: Vec<OsString>,
    /// Further flags of the verb `up`.
    pub up: Vec<OsString>,
}

impl Launch {
    /// The command line of a keeper that comes after another one in the same process.
    fn keeper(&self, release: &str, lock: RawFd, own: &Path) -> Vec<OsString> {
        let mut words = self.flags.clone();
        words.extend(["up".into(), "--self-hosted".into()]);
        words.extend(self.up.iter().cloned());
        words.extend([POST.into(), release.into(), lock.to_string().into(), own.into()]);
        words
    }
}

/// The flag by which a keeper is told its post.
const POST: &str = "--post";

/// What a keeper has from the program that this process was before, if there was one.
#[derive(Debug)]
pub struct Post {
    /// Whose program it is, or `OWN`.
    pub release: String,
    /// The program that was started by hand or by a service manager.
    pub own: PathBuf,
    /// It may become another version's.
    pub yields: bool,
    /// The lock of the seat.
    pub lock: Option<File>,
}
