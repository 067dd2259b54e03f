//! The machine below the platform: what it must have, who runs on it, where it listens.

pub mod doctor;
pub mod endpoints;
mod facts;
pub mod instance;
pub mod packages;
pub mod tool;

pub use endpoints::Endpoints;
pub use instance::Instance;
