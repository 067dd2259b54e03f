//! Entries on their way into a backup: each is hashed as it is written, none is ever in memory.

use super::contents::{Entry, MANIFEST, Manifest, digest};
use super::error::{BackupError, file};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use tar::{Builder, EntryType, Header};

pub(super) struct Entries<W: Write> {
    tar: Builder<W>,
    /// Where the backup is being made, for errors.
    path: std::path::PathBuf,
    manifest: Manifest,
}

impl<W: Write> Entries<W> {
    pub(super) fn new(out: W, path: &Path) -> Self {
        Self { tar: Builder::new(out), path: path.to_owned(), manifest: Manifest::default() }
    }

    pub(super) fn add_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let mut header = header(bytes.len() as u64);
        let added = self.tar.append_data(&mut header, name, bytes);
        added.map_err(file("write", &self.path))?;
        self.manifest.entries.push(Entry::new(name, bytes.len() as u64, &digest(bytes)));
        Ok(())
    }

    /// All of the file as it is now; what is appended to it meanwhile is not in the backup.
    pub(super) fn add_file(&mut self, name: &str, source: &Path) -> Result<(), BackupError> {
        let opened = File::open(source).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, from) = opened.map_err(file("read", source))?;
        let mut read = Hashed { inner: from.take(bytes), hash: Sha256::new() };
        let mut header = header(bytes);
        let added = self.tar.append_data(&mut header, name, &mut read);
        added.map_err(file("copy", source))?;
        if read.inner.limit() > 0 {
            let short = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(file("copy", source)(short));
        }
        self.manifest.entries.push(Entry::new(name, bytes, &read.hash.finalize()));
        Ok(())
    }

    /// The digests of everything, and the end.
    pub(super) fn finish(mut self) -> Result<W, BackupError> {
        let manifest = serde_json::to_vec(&self.manifest);
        let manifest = manifest.map_err(|error| file("write", &self.path)(error.into()))?;
        let mut header = header(manifest.len() as u64);
        let added = self.tar.append_data(&mut header, MANIFEST, manifest.as_slice());
        added.and_then(|()| self.tar.into_inner()).map_err(file("write", &self.path))
    }
}

fn header(bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(bytes);
    header
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.hash.update(&out[..n]);
        Ok(n)
    }
}
