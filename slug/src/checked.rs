//! A slug's bytes on their way, held against its identity.

use crate::SlugId;
use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// Reads as `inner` does, but fails at the end if the bytes were not those of `id`. [`crate::unpack`]
/// reads to the end before it publishes a tree, so a damaged slug never becomes one.
#[derive(Debug)]
pub struct Checked<R> {
    inner: R,
    id: SlugId,
    digest: Sha256,
}

#[derive(Debug, thiserror::Error)]
#[error("the bytes are those of {found}, not of slug {wanted}")]
struct Mismatch {
    wanted: SlugId,
    found: SlugId,
}

impl<R: Read> Checked<R> {
    pub fn new(inner: R, id: SlugId) -> Self {
        Self { inner, id, digest: Sha256::new() }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.digest.update(&out[..n]);
        if n == 0 && !out.is_empty() {
            let found = SlugId::from_digest(self.digest.clone().finalize().into());
            if found != self.id {
                return Err(io::Error::other(Mismatch { wanted: self.id, found }));
            }
        }
        Ok(n)
    }
}
