//! The keeper's program replaced by another version's: asked first, and then become, by `exec`.
//!
//! Pid, children and lock stay. So does a timer of the kernel's, which ends a program that does not come
//! round to what a keeper does: whoever started the first keeper starts another one then.

use super::decide::{Arrival, arrive};
use super::process::Process;
use super::{Seat, seat};
use crate::config::Config;
use crate::host::instance::InstanceError;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{alarm, execv};
use serde::{Deserialize, Serialize};
use std::ffi::{CString, NulError, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// The hidden verb by which a program says what it would do as the keeper.
pub const VERB: &str = "heir";
/// Only on a machine that is out of breath does that take seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A keeper does something every quarter of a second; a slow disk may hold it up.
const STUCK: Duration = Duration::from_mins(5);

/// What these mean for a keeper, the next program has to be told.
const TOLD: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// What a keeper finds and would do. Its form is a promise to versions before and after this one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Account {
    seat: Seat,
    /// The platform that runs.
    platform: Option<i32>,
    arrival: Arrival,
}

/// Why there is no account of a seat.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("the seat cannot be read")]
    Seat(#[source] io::Error),
    #[error("who runs now cannot be found")]
    Find(#[from] InstanceError),
    #[error("it cannot be written")]
    Write(#[from] serde_json::Error),
}

/// Why another program is not made the keeper.
#[derive(Debug, thiserror::Error)]
pub(super) enum SuccessionError {
    #[error("its keeper cannot be run")]
    Run(#[source] io::Error),
    #[error("its keeper gives no answer in {} s", ANSWER_TIMEOUT.as_secs())]
    Silent,
    #[error("its keeper cannot use the seat: {said}")]
    Unfit { said: String },
    #[error("its keeper sees something else than there is: {found}")]
    Differs { found: String },
    #[error("its program is not there, or not as it was")]
    Absent,
    #[error("it cannot be noted")]
    Note(#[source] io::Error),
    #[error("signals cannot be kept for it")]
    Signals(#[source] Errno),
    #[error("the lock cannot be passed on")]
    Lock(#[source] io::Error),
    #[error("its command line cannot be written")]
    Words(#[from] NulError),
}

/// What this program would do as the keeper, as JSON.
pub fn account(config: &Config) -> Result<String, AccountError> {
    Ok(serde_json::to_string(&Account::of(&config.data)?)?)
}

impl Account {
    fn of(data: &Path) -> Result<Self, AccountError> {
        let seat = seat::read(data).map_err(AccountError::Seat)?;
        let (process, release) = Process::find(data)?.unzip();
        let arrival = arrive(&seat, release.as_deref());
        Ok(Self { seat, platform: process.map(Process::pid), arrival })
    }
}

/// Asks a program, which changes nothing by that: it has to read the seat as it is, to write it as we
/// read it, to find the platform that runs, and to let it be.
pub(super) async fn ask(
    program: &Path,
    flags: &[OsString],
    seat: &Seat,
    platform: Option<Process>,
) -> Result<(), SuccessionError> {
    let mut command = Command::new(program);
    command.args(flags).arg(VERB).stdin(Stdio::null()).kill_on_drop(true);
    let answer = timeout(ANSWER_TIMEOUT, command.output()).await;
    let Output { status, stdout, stderr } =
        answer.map_err(|_| SuccessionError::Silent)?.map_err(SuccessionError::Run)?;
    let lossy = |text: &[u8]| String::from_utf8_lossy(text).trim().to_owned();
    if !status.success() {
        let said = format!("{status}: {}", lossy(&stderr));
        return Err(SuccessionError::Unfit { said });
    }
    let expected = Account {
        seat: seat.clone(),
        platform: platform.map(Process::pid),
        arrival: Arrival::Adopt,
    };
    let found: Option<Account> = serde_json::from_slice(&stdout).ok();
    if found == Some(expected) {
        Ok(())
    } else {
        Err(SuccessionError::Differs { found: lossy(&stdout) })
    }
}

/// Becomes that program, which has so long to come round; there is an answer only when it cannot be.
pub(super) fn become_it(program: &Path, words: &[OsString], within: Duration) -> SuccessionError {
    let text = |word: &OsStr| CString::new(word.as_bytes());
    let words = words.iter().map(OsString::as_os_str);
    let line = std::iter::once(program.as_os_str()).chain(words).map(text);
    let line: Vec<CString> = match line.collect() {
        Ok(line) => line,
        Err(error) => return error.into(),
    };
    wake_within(within);
    let Err(error) = execv(&line[0], &line);
    SuccessionError::Run(error.into())
}

/// The process ends, unless this is called again in time.
fn wake_within(limit: Duration) {
    // What is set to nothing does not ring.
    alarm::set(u32::try_from(limit.as_secs()).unwrap_or(u32::MAX).max(1));
}

/// As `wake_within`, for a keeper in its loop.
pub(super) fn awake() {
    wake_within(STUCK);
}

/// What this thread is told meanwhile waits: for the next program, or for the end of this.
#[derive(Debug)]
pub(super) struct Deaf {
    before: SigSet,
}

impl Deaf {
    pub(super) fn begin() -> Result<Self, SuccessionError> {
        let told: SigSet = TOLD.into_iter().collect();
        let before = told.thread_swap_mask(SigmaskHow::SIG_BLOCK);
        Ok(Self { before: before.map_err(SuccessionError::Signals)? })
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        // It was the mask before.
        self.before.thread_set_mask().ok();
    }
}

/// What the program before has left unheard is heard from now on; to be called by one who listens.
pub fn hear() -> Result<(), Errno> {
    TOLD.into_iter().collect::<SigSet>().thread_unblock()
}
