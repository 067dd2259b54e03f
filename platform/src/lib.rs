//! The platform: apps, releases, builds, the API and the git endpoint, wired to the runtime.

pub mod cli;
pub mod config;
pub mod endpoints;
pub mod host;
pub mod stack;
pub mod tls;
