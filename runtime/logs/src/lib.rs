//! Lines in, tails and drains out; every line emitted is stored, delivered or counted as dropped.

mod line;
mod sender;

pub use line::{AppId, Line, Source};
pub use sender::{Sender, channel};
