//! Lines in, tails and drains out; every line emitted is stored, delivered or counted as dropped.

mod block;
mod board;
pub mod clock;
mod counts;
pub mod drain;
mod entry;
mod filter;
mod hub;
mod human;
mod intake;
mod journal;
mod ledger;
mod line;
mod loss;
mod mapped;
mod policy;
mod ring;
mod sender;
mod shelf;
pub mod sse;
mod tail;

pub use counts::Counts;
pub use drain::{Drain, DrainCounts, DrainTable};
pub use entry::{Cursor, Entry};
pub use filter::Filter;
pub use hub::{Hub, TailError};
pub use human::human;
pub use intake::{LINE_BYTES_MAX, Splitter};
pub use journal::JournalError;
pub use ledger::Ledger;
pub use line::{AppId, Line, Source};
pub use policy::Policy;
pub use sender::{Receiver, Sender, channel, counted_channel};
pub use tail::Tail;
