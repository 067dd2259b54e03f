//! What the rings hold, kept on disk between two runs of the hub.

use crate::{AppId, Cursor, Entry, Line, Source};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A longer row is none of ours: a line has at most 30 000 bytes, a byte at most 6 in JSON.
const ROW_BYTES_MAX: u64 = 256 << 10;

/// Reading stops here whatever the file holds.
const SPOOL_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("cannot read the log spool {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the log spool {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// One entry, as a row of JSON.
#[derive(Serialize, Deserialize)]
struct Row<'a> {
    app: AppId,
    cursor: u64,
    time_us: i64,
    source: Source,
    process: Cow<'a, str>,
    text: Cow<'a, str>,
}

/// The entries of the file and the number of rows that were unreadable; nothing when there is no file.
pub(crate) fn load(path: &Path) -> Result<(Vec<Entry>, u64), SpoolError> {
    let failed = |source| SpoolError::Read { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => read(BufReader::new(file.take(SPOOL_BYTES_MAX))).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        Err(error) => Err(failed(error)),
    }
}

fn read(mut file: impl BufRead) -> io::Result<(Vec<Entry>, u64)> {
    let (mut entries, mut unreadable, mut row) = (Vec::new(), 0, Vec::new());
    loop {
        row.clear();
        if file.by_ref().take(ROW_BYTES_MAX).read_until(b'\n', &mut row)? == 0 {
            return Ok((entries, unreadable));
        }
        match parse(&row) {
            Some(entry) => entries.push(entry),
            None => unreadable += 1,
        }
    }
}

fn parse(row: &[u8]) -> Option<Entry> {
    let row: Row<'_> = serde_json::from_slice(row).ok()?;
    let line = Line {
        app: row.app,
        time: Timestamp::from_microsecond(row.time_us).ok()?,
        source: row.source,
        process: Arc::from(&*row.process),
        text: Bytes::from(row.text.into_owned()),
    };
    Some(Entry { cursor: Cursor(row.cursor), line: Arc::new(line) })
}

/// Replaces the file as a whole: after a crash there is the old one or the new one.
pub(crate) fn save(path: &Path, entries: &[Entry]) -> Result<(), SpoolError> {
    replace(path, entries).map_err(|source| SpoolError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // Lines may hold what only the app's owner should read.
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut rows = BufWriter::new(file);
    for entry in entries {
        serde_json::to_writer(&mut rows, &row(entry))?;
        rows.write_all(b"\n")?;
    }
    rows.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn row(entry: &Entry) -> Row<'_> {
    let line = &*entry.line;
    Row {
        app: line.app.clone(),
        cursor: entry.cursor.0,
        time_us: line.time.as_microsecond(),
        source: line.source,
        process: Cow::Borrowed(&*line.process),
        text: String::from_utf8_lossy(&line.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cursor: u64, text: &str) -> Entry {
        let line = Line {
            app: AppId::new("a"),
            time: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            source: Source::Heroku,
            process: Arc::from("router"),
            text: Bytes::from(text.to_owned()),
        };
        Entry { cursor: Cursor(cursor), line: Arc::new(line) }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rings.jsonl");
        assert_eq!(load(&path).unwrap(), (Vec::new(), 0));
        let entries =
            vec![entry(1, "plain"), entry(2, "\u{1b}[31mré\"d\\\t"), entry(3, &"x".repeat(30_000))];
        save(&path, &entries).unwrap();
        assert_eq!(load(&path).unwrap(), (entries, 0));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn unreadable_rows_cost_themselves_only() {
        let mut file = b"not json\n\xff\xfe\n{}\n".to_vec();
        file.extend(std::iter::repeat_n(b'x', 600 << 10));
        file.push(b'\n');
        serde_json::to_writer(&mut file, &row(&entry(7, "kept"))).unwrap();
        let (entries, unreadable) = read(&file[..]).unwrap();
        assert_eq!(entries, [entry(7, "kept")]);
        assert_eq!(unreadable, 3 + 3);
    }
}
