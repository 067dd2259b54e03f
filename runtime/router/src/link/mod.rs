//! The link between a router that is a process of its own and the platform that feeds it.
//!
//! A unix socket. Down come complete route tables and keyrings; up go log lines, what is in flight, who is asked
//! for. Either side may die at any time: the router goes on with the table it has, connects again by
//! itself, and sends again what was not taken. Every line has a position, so that none is taken
//! twice; what could not wait is counted, and goes up as a number.

mod cable;
mod desk;
mod error;
mod frame;
mod message;
mod outbox;
mod parcel;

pub use cable::{Cable, Life};
pub use desk::Desk;
pub use error::LinkError;

/// Raised when there is a new message, or one changes its meaning. A platform turns a router away
/// whose version it does not speak, and starts one of its own; the router goes on with what it has
/// until it is told to end.
const VERSION: u32 = 2;
/// The oldest that the platform speaks still: an upgrade loses no line of the router before it.
const OLDEST: u32 = 1;
/// Since when routers know keyrings.
const KEYRING_SINCE: u32 = 2;
