//! What rings hold and drains owe, written down as it comes, so that no end of the process loses it.
//!
//! Rows are appended to one file, by one write for each batch of lines, and not synced: they survive
//! the process, and at a power cut the last moments are lost. When the file has grown to twice what
//! is held it is written anew.

mod kept;
mod row;

pub(crate) use kept::{Kept, load};
pub(crate) use row::{Account, Rows};

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"lathe log 1\n";

/// A file is not written anew before it has this size: a flood would have it written all the time.
const SMALL_BYTES: u64 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot read the log journal {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the log journal {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// None after a failed write, until the file was written anew.
    file: Option<File>,
    bytes: u64,
    /// From this size on the file is to be written anew.
    bytes_max: u64,
}

impl Journal {
    /// Nothing is written before the first `renew`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, bytes: 0, bytes_max: 0 }
    }

    /// Whether it is time to write the file anew.
    pub(crate) fn is_due(&self) -> bool {
        self.file.is_some() && self.bytes >= self.bytes_max
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.file.is_none()
    }

    pub(crate) fn append(&mut self, rows: &Rows) -> Result<(), JournalError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(source) = file.write_all(rows.bytes()) {
            // What lies half written at the end would hide what came after it.
            self.file = None;
            return Err(JournalError::Write { path: self.path.clone(), source });
        }
        self.bytes += rows.bytes().len() as u64;
        Ok(())
    }

    /// Replaces the file by one that holds `kept` only: after a crash there is the old or the new.
    pub(crate) fn renew(&mut self, kept: &Kept) -> Result<(), JournalError> {
        self.file = None;
        let (file, bytes) = write(&self.path, kept)
            .map_err(|source| JournalError::Write { path: self.path.clone(), source })?;
        (self.file, self.bytes, self.bytes_max) = (Some(file), bytes, (2 * bytes).max(SMALL_BYTES));
        Ok(())
    }

    /// Everything so far survives a power cut too.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        let synced = self.file.as_ref().map_or(Ok(()), |file| {
            file.sync_all()?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        });
        synced.map_err(|source| JournalError::Write { path: self.path.clone(), source })
    }
}

fn write(path: &Path, kept: &Kept) -> io::Result<(File, u64)> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // Lines may hold what only the app's owner should read.
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut out = BufWriter::new(file);
    out.write_all(MAGIC)?;
    let (mut rows, mut bytes) = (Rows::default(), MAGIC.len());
    let mut put = |rows: &mut Rows| {
        bytes += rows.bytes().len();
        out.write_all(rows.bytes())?;
        rows.clear();
        io::Result::Ok(())
    };
    for block in &kept.blocks {
        rows.block(block);
        put(&mut rows)?;
    }
    kept.marks.iter().for_each(|mark| rows.mark(mark));
    kept.accounts.iter().for_each(|(app, account)| rows.account(app, *account));
    put(&mut rows)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    fs::rename(&beside, path)?;
    Ok((file, bytes as u64))
}
