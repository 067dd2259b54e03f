//! Reads a slug through, as unpacking would, and writes nothing.

use crate::archive::{Archive, ArchiveError, Layout};
use crate::gunzip::gunzip;
use crate::{DiffId, Limits, Manifest, SlugId};
use sha2::{Digest, Sha256};
use std::io::{self, BufReader, Read};

/// Both digests and all counts, or why the slug could never be unpacked.
pub(crate) fn inspect(gz: impl Read, limits: &Limits) -> Result<Manifest, ArchiveError> {
    let mut gz = Tally { inner: gz, digest: Sha256::new(), bytes: 0 };
    let (diff_id, unpacked_bytes, entries) = gunzip(&mut gz, limits.compressed_bytes_max, |tar| {
        let mut tar = Tally { inner: tar, digest: Sha256::new(), bytes: 0 };
        let reader = BufReader::with_capacity(128 << 10, &mut tar);
        let mut archive = Archive::new(reader, Layout::Slug, limits);
        while archive.next()?.is_some() {}
        let entries = archive.entries();
        Ok((DiffId::from_digest(tar.digest.finalize().into()), tar.bytes, entries))
    })?;
    let id = SlugId::from_digest(gz.digest.finalize().into());
    Ok(Manifest { id, diff_id, bytes: gz.bytes, unpacked_bytes, entries })
}

/// Counts and digests what is read through it.
struct Tally<R> {
    inner: R,
    digest: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Tally<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.digest.update(&out[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}
