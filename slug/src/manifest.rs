//! What is known about a slug without opening it.

use crate::{DiffId, SlugId};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub id: SlugId,
    pub diff_id: DiffId,
    /// Compressed.
    pub bytes: u64,
    /// The tar inside, its headers and padding included.
    pub unpacked_bytes: u64,
    /// Files, folders and links together.
    pub entries: u64,
}
