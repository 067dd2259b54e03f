//! The platform: apps, releases, builds, the API and the git endpoint, wired to the runtime.

pub mod api;
pub mod attach;
pub mod backup;
pub mod build;
mod causes;
pub mod certs;
pub mod cli;
pub mod config;
pub mod control;
pub mod endpoints;
pub mod engine;
pub mod git;
pub mod host;
pub mod hosting;
mod inherited;
mod plumbing;
pub mod registry;
pub mod roles;
mod room;
pub mod services;
pub mod stack;
pub mod state;
pub mod steps;
pub mod tls;
