//! The native container engine: namespaces, overlayfs and control groups, with no daemon beside it.
//!
//! Three kinds of process work together:
//!
//! ```text
//! engine (in the platform)  --- spawner.sock --->  spawner  --- clone3 --->  first process  --- clone --->  the app
//! prepares, lists, cleans up                       starts, reaps,            mounts, confines,
//!                                                  holds output              reaps, forwards signals
//! ```
//!
//! What does not depend on the dyno is made ahead, as a berth: control groups, a network, and a
//! first process in them that waits for a dyno.
//!
//! For a command inside a dyno that runs, the engine sends a visitor: a process that lives as long as
//! the command.
//!
//! Each may die without the next one noticing. A new engine finds the spawner by its socket, a
//! new spawner finds the dynos by their records and takes their pipes from `/proc/<pid>/fd`, and
//! a dyno's first process writes the exit status to a file that it holds open from its birth.

mod address;
pub(crate) mod berths;
pub(crate) mod cgroup;
mod confine;
mod container;
mod cpuset;
mod dynos;
mod engine;
mod exits;
pub(crate) mod firewall;
mod grants;
mod image;
mod keeper;
pub(crate) mod launch;
mod link;
mod netlink;
mod network;
mod open;
pub(crate) mod ports;
mod record;
mod records;
mod room;
mod rootfs;
mod seccomp;
mod slugs;
mod sockets;
pub mod spawner;
mod starting;
mod strays;
mod stream;
mod syscalls;
mod title;
mod visiting;
pub mod visitor;
mod wills;
mod wire;

pub use address::{Network, ParseNetworkError};
pub use engine::NativeEngine;
pub use grants::Grants;
pub use open::{NativeConfig, OpenError};
pub use slugs::OpenSlug;
pub use sockets::{KeptSocket, let_go};
