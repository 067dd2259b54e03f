//! What holds of slugs as their users see them: packing, unpacking, hostile archives, the store.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crash;
mod diff;
mod full_disk;
mod git_oracle;
mod hostile;
mod pack;
mod round_trip;
mod store;
mod tree;
