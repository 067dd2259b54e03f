//! Slug to running dynos: engines, classes, converge, and the cell's loop.
//! Knows no users, no git and no releases: whoever calls says what shall run.

pub mod class;
pub mod containers;
pub mod spec;
