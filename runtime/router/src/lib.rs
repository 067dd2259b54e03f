//! Requests in, dynos out. Knows hosts, routes and addresses; no users, no releases.

mod access;
mod backend;
mod board;
mod config;
mod connection;
mod converse;
mod demand;
mod dial;
mod doors;
mod error;
mod exchange;
mod fault;
mod headers;
mod host;
mod in_flight;
mod in_force;
mod index;
mod keyring;
mod keys;
pub mod link;
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

pub use config::{LastFile, RouterConfig, Successor};
pub use demand::Demand;
pub use doors::{Doors, Feed};
pub use error::{RouterError, SavedError};
pub use in_flight::InFlight;
pub use in_force::InForce;
pub use keyring::{CHALLENGE_PATH, Keyring, Pair};
pub use saved::{
    last as saved_routes, last_keyring as saved_keyring, save as save_routes, save_keyring,
};
pub use serve::run;
pub use table::{AppRoute, Availability, Routes, Target};
