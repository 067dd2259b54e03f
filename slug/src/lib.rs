//! What a slug is: one gzip tar under `./app/`, written by the compiler and read by the runtime.
//!
//! The same tree packs to the same bytes on every machine, and an archive is believed about nothing:
//! [`pack`] and [`unpack`] hold the same [`Limits`], follow no symbolic link, and work only through
//! directory descriptors, so that neither can reach outside the tree it was given.

mod archive;
mod bounded;
mod checked;
mod diff;
pub mod fs;
mod glob;
mod gunzip;
mod id;
mod ignore;
mod inspect;
mod limits;
mod manifest;
mod members;
mod pack;
mod path;
mod procfile;
mod seen;
mod store;
mod tally;
mod tarball;
mod tree;
mod unpack;

pub use archive::{ArchiveError, Layout};
pub use checked::Checked;
pub use diff::{DiffError, Difference, DifferenceKind, diff, elf_section};
pub use id::{DiffId, ParseDigestError, SlugId};
pub use ignore::{Ignore, IgnoreError};
pub use inspect::check_tar;
pub use limits::{Exceeded, Limit, Limits, PackLimits, UnpackLimits};
pub use manifest::Manifest;
pub use pack::{PackError, pack};
pub use path::PathFault;
pub use procfile::{Procfile, ProcfileError};
pub use store::{Collected, Incoming, Store, StoreError, Stored};
pub use unpack::{Owner, UnpackError, Unpacked, unpack, unpack_tar};

/// Modification time of everything in a slug, seconds since 1970: one second into 1980, the earliest
/// that every archive format can hold (zip cannot go further back), as Cloud Native Buildpacks use.
pub const SLUG_MTIME_SECONDS: u64 = 315_532_801;
