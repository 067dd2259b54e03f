//! Reads a slug through, as unpacking would, and writes nothing.

use crate::archive::{Archive, ArchiveError, Layout};
use crate::gunzip::gunzip;
use crate::tally::Tally;
use crate::{DiffId, Limits, Manifest, SlugId};
use std::io::{BufReader, Read};

const BUFFER_BYTES: usize = 128 << 10;

/// Both digests and all counts, or why the slug could never be unpacked.
pub(crate) fn inspect(gz: impl Read, limits: &Limits) -> Result<Manifest, ArchiveError> {
    let mut gz = Tally::new(gz);
    let (diff_id, unpacked_bytes, entries) = gunzip(&mut gz, limits.compressed_bytes_max, |tar| {
        let mut tar = Tally::new(tar);
        let reader = BufReader::with_capacity(BUFFER_BYTES, &mut tar);
        let mut archive = Archive::new(reader, Layout::Slug, limits);
        while archive.next()?.is_some() {}
        let entries = archive.entries();
        Ok::<_, ArchiveError>((DiffId::from_digest(tar.digest()), tar.length(), entries))
    })?;
    let id = SlugId::from_digest(gz.digest());
    Ok(Manifest { id, diff_id, bytes: gz.length(), unpacked_bytes, entries })
}
