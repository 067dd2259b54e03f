//! The native engine against the real kernel: needs root, as the engine does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "native/world.rs"]
mod world;

#[path = "native/adoption.rs"]
mod adoption;
#[path = "native/berths.rs"]
mod berths;
#[path = "native/credit.rs"]
mod credit;
#[path = "native/crowd.rs"]
mod crowd;
#[path = "native/escape.rs"]
mod escape;
#[path = "native/grants.rs"]
mod grants;
#[path = "native/lifecycle.rs"]
mod lifecycle;
#[path = "native/limits.rs"]
mod limits;
#[path = "native/mounts.rs"]
mod mounts;
#[path = "native/network.rs"]
mod network;
#[path = "native/slugs.rs"]
mod slugs;
#[path = "native/sockets.rs"]
mod sockets;
#[path = "native/terminal.rs"]
mod terminal;
