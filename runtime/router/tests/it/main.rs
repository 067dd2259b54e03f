//! The router over real sockets: well-behaved and misbehaving dynos and clients.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod faults;
mod limits;
mod link;
mod refusals;
mod relay;
mod tables;
mod tls;
mod tunnels;
mod world;
