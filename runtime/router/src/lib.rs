//! Requests in, dynos out. Knows hosts, routes and addresses; no users, no releases.

mod table;

pub use table::{AppRoute, Availability, Routes, Target};
