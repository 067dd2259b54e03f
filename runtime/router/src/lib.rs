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
mod in_force;
mod index;
pub mod link;
mod page;
mod pick;
mod policy;
mod proxy;
mod relay;
mod reply;
mod saved;
mod serve;
mod session;
mod table;
mod tunnel;
mod upload;
mod wire;

pub use config::{LastTable, RouterConfig, Scheme, Successor};
pub use demand::Demand;
pub use error::{RouterError, SavedTableError};
pub use in_flight::InFlight;
pub use in_force::InForce;
pub use saved::{last as saved_routes, save as save_routes};
pub use serve::run;
pub use table::{AppRoute, Availability, Routes, Target};
