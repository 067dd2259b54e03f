//! The hub's limits.

use crate::drain;
use jiff::SignedDuration;

/// Every bound of the hub; the defaults are Heroku's numbers where Heroku has one.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Lines held for an app (Heroku Dev Center, Logging: "the most recent 1500 lines").
    pub ring_lines: usize,
    /// Bytes held for an app.
    pub ring_bytes: usize,
    /// Bytes held for all apps together; with many apps each has an equal share.
    pub total_bytes: usize,
    /// Lines older than this are let go (Heroku Dev Center, Logging: one week).
    pub expiry: SignedDuration,
    /// Readers that follow one app at the same time.
    pub tails_per_app: usize,
    /// Unread lines held for one reader.
    pub tail_lines: usize,
    /// A reader that reads nothing for this long is ended.
    pub tail_stall: SignedDuration,
    pub drain: drain::Policy,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ring_lines: 1500,
            ring_bytes: 4 << 20,
            total_bytes: 256 << 20,
            expiry: SignedDuration::from_secs(604_800),
            tails_per_app: 64,
            tail_lines: 1024,
            tail_stall: SignedDuration::from_secs(300),
            drain: drain::Policy::default(),
        }
    }
}
