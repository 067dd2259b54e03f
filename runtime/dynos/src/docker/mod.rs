//! Dynos as containers of a Docker daemon: the same promises as the native engine's, kept by
//! somebody else's program.
//!
//! The daemon makes containers from images, keeps them and their output, and tells how they ended.
//! What it is slow or silent about is asked of the kernel instead: each container lives below a
//! control group of ours, by which it is limited, measured, governed and signalled, with or without
//! a daemon that answers. Nothing is remembered but how far each dyno's output was read: whatever
//! else there is to know about a dyno is in its labels.

mod body;
mod carry;
mod daemon;
mod engine;
mod exec;
mod image;
mod layer;
mod open;
mod output;
mod position;
mod starting;
mod watch;

pub use engine::DockerEngine;
pub use image::{Credentials, Image, Images};
pub use open::{DockerConfig, OpenError, examine};

/// What an image executes to be a dyno: its words, and the command as the last of them.
pub fn words(command: &str) -> Vec<String> {
    crate::native::launch::arguments(None, command)
}
