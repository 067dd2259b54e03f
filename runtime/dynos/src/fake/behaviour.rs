//! What a fake dyno does, and what is done to the calls of its engine.

use crate::containers::Usage;
use std::ops::Range;
use std::time::Duration;

/// What a fake dyno does.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Listens on its port so long after launch; none = never.
    pub listens_after: Option<Duration>,
    /// Ends by itself so long after launch, with this status; none = never.
    pub ends_after: Option<(Duration, u8)>,
    /// While it is as old as this it accepts no connection, and a command in it ends with 1.
    pub sick: Option<Range<Duration>>,
    /// The same for the command `ready` alone.
    pub unready: Option<Range<Duration>>,
    /// Ends so long after SIGTERM; none = ignores it.
    pub obeys_after: Option<Duration>,
    /// What it then says, and its status.
    pub at_term: (Vec<u8>, u8),
    /// Written to stdout at launch. At most what a pipe holds.
    pub says: Vec<u8>,
    /// Written to stderr at launch, likewise.
    pub complains: Vec<u8>,
    /// Taken at launch; when its class has less, that is its end.
    pub takes_bytes: u64,
    pub usage: Usage,
    pub runnable: u32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            listens_after: Some(Duration::from_millis(300)),
            ends_after: None,
            sick: None,
            unready: None,
            obeys_after: Some(Duration::from_millis(200)),
            at_term: (Vec::new(), 143),
            says: Vec::new(),
            complains: Vec::new(),
            takes_bytes: 0,
            usage: Usage::default(),
            runnable: 0,
        }
    }
}

/// What happens to one call of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing is done, and an error comes back.
    Refuse,
    /// It is done, but the answer is lost.
    LoseAnswer,
    /// Neither is it done nor answered, for so long; then it is done.
    Delay(Duration),
}

/// The calls that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    Start,
    List,
    Signal,
    Kill,
    Forget,
    Listening,
    Run,
}
