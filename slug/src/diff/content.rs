//! One file of a slug, taken out to be compared byte by byte.

use super::{DiffError, open, refused};
use crate::Limits;
use crate::archive::{Archive, ArchiveError, Layout};
use crate::gunzip::gunzip;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::Path;

/// The file `path` of a slug, as one that has no name: of any size, and gone when it is dropped.
pub(super) fn extract(slug: &Path, path: &Path, limits: &Limits) -> Result<File, DiffError> {
    let written = gunzip(open(slug)?, limits.compressed_bytes_max, |tar| {
        let mut archive = Archive::new(tar, Layout::Slug, limits);
        let mut written = tempfile::tempfile();
        while let Some(entry) = archive.next()? {
            if entry.path.as_path() != path {
                continue;
            }
            archive.data(|piece| {
                if let Ok(file) = &mut written
                    && let Err(error) = file.write_all(piece)
                {
                    written = Err(error);
                }
                Ok::<_, ArchiveError>(())
            })?;
            break;
        }
        Ok(written)
    });
    let written = written.map_err(|source| refused(slug, source))?;
    written.map_err(|source| DiffError::Content { path: path.to_path_buf(), source })
}

/// Offset of the first byte that differs, or where the shorter file ends.
pub(super) fn first_difference(mut left: &File, mut right: &File) -> io::Result<u64> {
    left.rewind()?;
    right.rewind()?;
    let (mut left, mut right) = (BufReader::new(left), BufReader::new(right));
    let mut at = 0;
    loop {
        let (ours, theirs) = (left.fill_buf()?, right.fill_buf()?);
        let both = ours.len().min(theirs.len());
        let same = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
        at += same as u64;
        if same < both || both == 0 {
            return Ok(at);
        }
        left.consume(both);
        right.consume(both);
    }
}
