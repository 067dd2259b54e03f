//! What the end-to-end tests share: a platform to drive, and real clients to drive it with.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::return_self_not_must_use, reason = "a check may end its chain")]

mod acme;
mod app;
mod certificates;
mod disk;
mod dockerd;
pub mod golden;
pub mod host;
pub mod hostile;
mod http;
mod machine;
mod platform;
mod receiver;
mod released;
mod rendezvous;
mod secured;
mod smart;
pub mod tarball;
mod wait;

pub use acme::{Acme, Mood};
pub use app::{Checkout, Pushed};
pub use certificates::Authority;
pub use disk::Disk;
pub use dockerd::Dockerd;
pub use http::{Answer, get, request, request_on};
pub use machine::{Dyno, Load, Tally, cgroups_of_pids, cpu_quota, signal};
pub use platform::{Platform, lathe, unique_network};
pub use receiver::Receiver;
pub use rendezvous::{OneOff, Session};
pub use secured::Secured;
pub use smart::{ZERO, basic, commands, noise, rest};
pub use wait::until;
