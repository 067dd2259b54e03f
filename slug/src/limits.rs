//! How much an archive may hold, in every dimension, and what is said when it is more.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One set for both directions: whatever [`crate::pack`] may write, [`crate::unpack`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of the gzip stream. Heroku's slug limit is 500 MB (Heroku Dev Center, Slug Compiler).
    pub compressed_bytes_max: u64,
    /// Bytes of the tar inside, its headers and padding included.
    pub unpacked_bytes_max: u64,
    /// Files, folders and links together.
    pub entries_max: u64,
    /// Bytes of one path, or of what a link points to.
    pub path_bytes_max: usize,
    /// Path components.
    pub depth_max: usize,
    /// Bytes of one long-name or PAX header, which a reader must hold in memory.
    pub extension_bytes_max: u64,
}

pub type PackLimits = Limits;
pub type UnpackLimits = Limits;

impl Limits {
    /// Those where nothing is set: Heroku's where it has one.
    pub const HEROKU: Self = Self {
        compressed_bytes_max: 500 << 20,
        unpacked_bytes_max: 2 << 30,
        entries_max: 100_000,
        path_bytes_max: 1024,
        depth_max: 64,
        extension_bytes_max: 64 << 10,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::HEROKU
    }
}

/// One dimension of [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Compressed,
    Unpacked,
    Entries,
    Path,
    Depth,
    Header,
}

impl Limit {
    /// The setting by which an operator changes it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Compressed => "archive.compressed",
            Self::Unpacked => "archive.unpacked",
            Self::Entries => "archive.entries",
            Self::Path => "archive.path",
            Self::Depth => "archive.depth",
            Self::Header => "archive.header",
        }
    }
}

/// More than a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    pub limit: Limit,
    /// What there is; of streams and trees at least that, as nobody reads on behind a limit.
    pub found: u64,
    pub max: u64,
}

impl std::error::Error for Exceeded {}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, found, max } = self;
        match limit {
            Limit::Compressed => write!(f, "at least {found} bytes compressed"),
            Limit::Unpacked => write!(f, "at least {found} bytes unpacked"),
            Limit::Entries => write!(f, "at least {found} entries"),
            Limit::Path => write!(f, "a path of {found} bytes"),
            Limit::Depth => write!(f, "a path {found} levels deep"),
            Limit::Header => write!(f, "a header of {found} bytes"),
        }?;
        write!(f, ", over the limit of {max} (setting {})", limit.setting())
    }
}

impl Limit {
    /// An error when there is more than allowed. Sizes in memory are given as they come.
    pub fn check<T: TryInto<u64> + Copy>(self, found: T, max: T) -> Result<(), Exceeded> {
        // What does not fit into 64 bits is more than any limit.
        let wide = |number: T| number.try_into().unwrap_or(u64::MAX);
        let (found, max) = (wide(found), wide(max));
        if found > max { Err(Exceeded { limit: self, found, max }) } else { Ok(()) }
    }
}
