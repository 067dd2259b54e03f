//! Reads a slug through, as unpacking would, and writes nothing.

use crate::archive::{Archive, ArchiveError, Layout};
use crate::gunzip::gunzip;
use crate::tally::Tally;
use crate::{DiffId, Limits, Manifest, SlugId, Unpacked};
use std::io::{BufReader, Read};

const BUFFER_BYTES: usize = 128 << 10;

/// Both digests and all counts, or why the slug could never be unpacked.
pub(crate) fn inspect(gz: impl Read, limits: &Limits) -> Result<Manifest, ArchiveError> {
    let mut gz = Tally::new(gz);
    let (diff_id, unpacked) = gunzip(&mut gz, limits.compressed_bytes_max, |tar| {
        let mut tar = Tally::new(tar);
        let unpacked = check_tar(&mut tar, Layout::Slug, limits)?;
        Ok::<_, ArchiveError>((DiffId::from_digest(tar.digest()), unpacked))
    })?;
    let Unpacked { bytes: unpacked_bytes, entries } = unpacked;
    let id = SlugId::from_digest(gz.digest());
    Ok(Manifest { id, diff_id, bytes: gz.length(), unpacked_bytes, entries })
}

/// Reads a tar to its end and holds it against the limits: what passes here can be unpacked.
pub fn check_tar(
    tar: impl Read,
    layout: Layout,
    limits: &Limits,
) -> Result<Unpacked, ArchiveError> {
    let reader = BufReader::with_capacity(BUFFER_BYTES, tar);
    let mut archive = Archive::new(reader, layout, limits);
    while archive.next()?.is_some() {}
    Ok(Unpacked { bytes: archive.bytes(), entries: archive.entries() })
}
