//! The machine below the platform: what it must have, who runs on it, where it listens.

pub mod addresses;
pub(crate) mod disk;
pub mod dockerd;
pub mod doctor;
mod facts;
pub mod instance;
pub mod notify;
pub mod packages;
pub mod size;
pub mod tool;
