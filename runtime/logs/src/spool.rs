//! What rings hold and drains have not delivered, kept on disk between two runs of the hub.

use crate::drain::Left;
use crate::loss::Loss;
use crate::{AppId, Cursor, Entry, Line, Source};
use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
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

#[derive(Debug, Default)]
pub(crate) struct Spooled {
    pub(crate) entries: Vec<Entry>,
    /// By drain id.
    pub(crate) left: HashMap<String, Left>,
    pub(crate) rows_unreadable: u64,
}

/// One entry.
#[derive(Serialize, Deserialize)]
struct EntryRow<'a> {
    app: AppId,
    cursor: u64,
    time_us: i64,
    source: Source,
    process: Cow<'a, str>,
    text: Cow<'a, str>,
}

/// One drain's rest: the lines are among the entries, here are only their places.
#[derive(Serialize, Deserialize)]
struct LeftRow {
    drain: String,
    app: Option<AppId>,
    cursors: Vec<u64>,
    lost: u64,
    lost_since_us: Option<i64>,
}

/// What an earlier run saved; nothing when there is no file.
///
/// The drains' rest is forgotten on disk as it is read: after a crash it would be sent again.
pub(crate) fn load(path: &Path) -> Result<Spooled, SpoolError> {
    let (rows, unreadable) = read_file::<EntryRow<'static>>(path)?;
    let entries: Vec<_> = rows.into_iter().filter_map(entry).collect();
    let beside = path.with_extension("drains");
    let (rows, unreadable_too) = read_file::<LeftRow>(&beside)?;
    if let Err(source) = fs::remove_file(&beside)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(SpoolError::Write { path: beside, source });
    }
    let places: HashMap<_, _> =
        entries.iter().map(|entry| ((&entry.line.app, entry.cursor), entry)).collect();
    let left = rows.into_iter().map(|row| (row.drain.clone(), rest(&row, &places))).collect();
    Ok(Spooled { left, rows_unreadable: unreadable + unreadable_too, entries })
}

/// Replaces each file as a whole: after a crash there is the old one or the new one.
pub(crate) fn save(
    path: &Path,
    entries: &[Entry],
    left: &HashMap<String, Left>,
) -> Result<(), SpoolError> {
    write_file(path, entries.iter().map(entry_row))?;
    write_file(
        &path.with_extension("drains"),
        left.iter().filter(|(_, left)| !left.is_empty()).map(left_row),
    )
}

fn entry(row: EntryRow<'_>) -> Option<Entry> {
    let line = Line {
        app: row.app,
        time: Timestamp::from_microsecond(row.time_us).ok()?,
        source: row.source,
        process: Arc::from(&*row.process),
        text: Bytes::from(row.text.into_owned()),
    };
    Some(Entry { cursor: Cursor(row.cursor), line: Arc::new(line) })
}

fn entry_row(entry: &Entry) -> EntryRow<'_> {
    let line = &*entry.line;
    EntryRow {
        app: line.app.clone(),
        cursor: entry.cursor.0,
        time_us: line.time.as_microsecond(),
        source: line.source,
        process: Cow::Borrowed(&*line.process),
        text: String::from_utf8_lossy(&line.text),
    }
}

/// A line that the ring had to let go before it was saved is lost to the drain too, and told.
fn rest(row: &LeftRow, places: &HashMap<(&AppId, Cursor), &Entry>) -> Left {
    let since = row.lost_since_us.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let mut left = Left::default();
    if let Some(since) = since {
        left.loss.add(row.lost, since);
    }
    for cursor in row.cursors.iter().copied().map(Cursor) {
        match row.app.as_ref().and_then(|app| places.get(&(app, cursor))) {
            Some(&entry) => left.entries.push(entry.clone()),
            None => left.loss.add(1, cursor.time()),
        }
    }
    left
}

fn left_row((drain, left): (&String, &Left)) -> LeftRow {
    let Loss { lines, since } = left.loss;
    LeftRow {
        drain: drain.clone(),
        app: left.entries.first().map(|entry| entry.line.app.clone()),
        cursors: left.entries.iter().map(|entry| entry.cursor.0).collect(),
        lost: lines,
        lost_since_us: since.map(Timestamp::as_microsecond),
    }
}

/// The rows of the file and how many were unreadable.
fn read_file<T: DeserializeOwned>(path: &Path) -> Result<(Vec<T>, u64), SpoolError> {
    let failed = |source| SpoolError::Read { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => read(BufReader::new(file.take(SPOOL_BYTES_MAX))).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        Err(error) => Err(failed(error)),
    }
}

fn read<T: DeserializeOwned>(mut file: impl BufRead) -> io::Result<(Vec<T>, u64)> {
    let (mut rows, mut unreadable, mut row) = (Vec::new(), 0, Vec::new());
    loop {
        row.clear();
        if file.by_ref().take(ROW_BYTES_MAX).read_until(b'\n', &mut row)? == 0 {
            return Ok((rows, unreadable));
        }
        match serde_json::from_slice(&row) {
            Ok(row) => rows.push(row),
            Err(_) => unreadable += 1,
        }
    }
}

fn write_file<T: Serialize>(path: &Path, rows: impl Iterator<Item = T>) -> Result<(), SpoolError> {
    replace(path, rows).map_err(|source| SpoolError::Write { path: path.to_owned(), source })
}

fn replace<T: Serialize>(path: &Path, rows: impl Iterator<Item = T>) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // Lines may hold what only the app's owner should read.
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut out = BufWriter::new(file);
    for row in rows {
        serde_json::to_writer(&mut out, &row)?;
        out.write_all(b"\n")?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(cursor: u64, text: &str) -> Entry {
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
        let spooled = load(&path).unwrap();
        assert!(spooled.entries.is_empty() && spooled.left.is_empty());

        let entries =
            vec![held(1, "plain"), held(2, "\u{1b}[31mré\"d\\\t"), held(3, &"x".repeat(30_000))];
        let loss = Loss { lines: 4, since: Some(Timestamp::constant(1_700_000_000, 0)) };
        let rest = Left { entries: vec![entries[1].clone(), held(9, "evicted")], loss };
        save(&path, &entries, &HashMap::from([("d1".to_owned(), rest)])).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);

        let spooled = load(&path).unwrap();
        assert_eq!((&spooled.entries, spooled.rows_unreadable), (&entries, 0));
        assert_eq!(spooled.left["d1"].entries, entries[1..2]);
        assert_eq!(spooled.left["d1"].loss, Loss { lines: 5, ..loss });
        let again = load(&path).unwrap();
        assert_eq!((again.entries.len(), again.left.len()), (3, 0), "a drain's rest is taken once");
    }

    #[test]
    fn unreadable_rows_cost_themselves_only() {
        let mut file = b"not json\n\xff\xfe\n{}\n".to_vec();
        file.extend(std::iter::repeat_n(b'x', 600 << 10));
        file.push(b'\n');
        serde_json::to_writer(&mut file, &entry_row(&held(7, "kept"))).unwrap();
        let (rows, unreadable) = read::<EntryRow<'static>>(&file[..]).unwrap();
        let entries: Vec<_> = rows.into_iter().filter_map(entry).collect();
        assert_eq!(entries, [held(7, "kept")]);
        assert_eq!(unreadable, 3 + 3);
    }
}
