//! Slug to running dynos: engines, classes, converge, and the cell's loop.
//! Knows no users, no git and no releases: whoever calls says what shall run.

mod alarms;
pub mod cell;
pub mod checks;
pub mod class;
pub mod clock;
pub mod containers;
pub mod converge;
pub mod docker;
pub mod fake;
pub mod governor;
mod lock;
mod mind;
pub mod native;
pub mod oneoff;
pub mod output;
pub mod restart;
pub mod spec;
pub mod tracked;

/// The target of debug events that tell how long a turn of a loop took, in milliseconds.
pub const PACE: &str = "lathe::pace";
