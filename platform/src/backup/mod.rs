//! The whole platform in one file, made while it serves, and a platform made of such a file.
//!
//! A backup is a plain tar: first what it is, then keys, state, slugs and repositories, at last the
//! digests of all of these. It is consistent: the refs are read before the state and the objects after
//! it, so that no ref is ahead of the releases. What can be made again is not in it: caches, unpacked
//! slugs, stacks, logs.

mod contents;
mod entries;
mod error;
mod repos;
mod restore;
mod write;

pub use contents::Head;
pub(crate) use contents::{FILES, STATE, TLS};
pub use error::BackupError;
pub use restore::{Restored, cut_off, restore};
pub use write::{Written, write};
