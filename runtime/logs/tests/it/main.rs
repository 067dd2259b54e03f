//! The crate from outside, over real sockets and files.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod drains;
mod hub;
mod receiver;
mod support;
mod tls;
