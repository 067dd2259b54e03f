//! A slug's bytes on their way, held against its identity.

use crate::SlugId;
use crate::tally::Tally;
use std::fmt;
use std::io::{self, Read};

/// Reads as `inner` does, but fails at the end if the bytes were not those of `id`. [`crate::unpack`]
/// reads to the end before it publishes a tree, so a damaged slug never becomes one.
pub struct Checked<R> {
    inner: Tally<R>,
    id: SlugId,
}

#[derive(Debug, thiserror::Error)]
#[error("the bytes are those of {found}, not of slug {wanted}")]
struct Mismatch {
    wanted: SlugId,
    found: SlugId,
}

impl<R: Read> Checked<R> {
    pub fn new(inner: R, id: SlugId) -> Self {
        Self { inner: Tally::new(inner), id }
    }
}

impl<R> fmt::Debug for Checked<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        if n == 0 && !out.is_empty() {
            let found = SlugId::from_digest(self.inner.digest());
            if found != self.id {
                return Err(io::Error::other(Mismatch { wanted: self.id, found }));
            }
        }
        Ok(n)
    }
}
