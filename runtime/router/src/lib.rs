//! Requests in, dynos out. Knows hosts, routes and addresses; no users, no releases.

mod access;
mod backend;
mod board;
mod config;
mod demand;
mod dial;
mod error;
mod exchange;
mod fault;
mod headers;
mod host;
mod in_flight;
mod index;
mod page;
mod pick;
mod policy;
mod proxy;
mod random;
mod relay;
mod reply;
mod saved;
mod serve;
mod session;
mod table;
mod tunnel;
mod upload;
mod wire;

pub use config::{RouterConfig, Scheme};
pub use demand::Demand;
pub use error::RouterError;
pub use in_flight::InFlight;
pub use saved::last as saved_routes;
pub use serve::run;
pub use table::{AppRoute, Availability, Routes, Target};
