//! The native engine against the real kernel: needs root, as the engine does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "native/world.rs"]
mod world;

#[path = "native/lifecycle.rs"]
mod lifecycle;
