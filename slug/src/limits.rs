//! How much an archive may hold, in every dimension.

/// One set for both directions: whatever [`crate::pack`] may write, [`crate::unpack`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the gzip stream. Heroku's slug limit is 500 MB.
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            compressed_bytes_max: 500 << 20,
            unpacked_bytes_max: 2 << 30,
            entries_max: 100_000,
            path_bytes_max: 1024,
            depth_max: 64,
            extension_bytes_max: 64 << 10,
        }
    }
}
