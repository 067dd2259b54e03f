//! How many lines were ever sent for each app, in a file that a killed process leaves exact.
//!
//! A line is counted here before it is queued; what the journal does not know of it afterwards was
//! lost with the process. Rows have a fixed place, so that a count is one number stored in the page
//! cache: as memory where the file system allows it, by a small write elsewhere. It is not synced:
//! after a power cut both files are from some moments before.

use crate::AppId;
use crate::mapped::Mapped;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Count (8 bytes, little endian), length of the app's id (1 byte), the id.
const ROW_BYTES: usize = 64;
const ID_BYTES_MAX: usize = ROW_BYTES - 9;

/// Lines of further apps are not counted.
const APPS_MAX: usize = 65_536;

#[derive(Debug)]
pub struct Ledger {
    file: File,
    counts: Option<Mapped>,
    /// What an earlier run had sent.
    before: BTreeMap<AppId, u64>,
    rows: Mutex<Rows>,
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct Rows {
    of: HashMap<AppId, Row>,
    /// Places of apps that are no more.
    free: Vec<u64>,
    end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    at: u64,
    sent: u64,
    /// Whether it is in the file, so that only its count has to be stored.
    is_there: bool,
}

impl Ledger {
    /// Opens the file at `path`, or makes it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        Self::of(
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?,
        )
    }

    /// Goes on in a file that is open for reading and writing.
    pub fn of(file: File) -> io::Result<Self> {
        let counts = Mapped::of(&file, APPS_MAX * ROW_BYTES);
        Self::counting(file, counts)
    }

    fn counting(mut file: File, counts: Option<Mapped>) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.by_ref().take((APPS_MAX * ROW_BYTES) as u64).read_to_end(&mut bytes)?;
        let mut rows = Rows::default();
        for row in bytes.chunks(ROW_BYTES) {
            match parse(row) {
                Some((app, sent)) => {
                    let row = Row { at: rows.end, sent, is_there: true };
                    rows.of.insert(app, row);
                }
                None => rows.free.push(rows.end),
            }
            rows.end += ROW_BYTES as u64;
        }
        let before = rows.of.iter().map(|(app, row)| (app.clone(), row.sent)).collect();
        let (rows, broken) = (Mutex::new(rows), AtomicBool::new(false));
        Ok(Self { file, counts, before, rows, broken })
    }

    /// What an earlier run had sent, by app.
    pub(crate) fn before(&self) -> &BTreeMap<AppId, u64> {
        &self.before
    }

    /// What was sent by now, by app.
    pub fn sent(&self) -> BTreeMap<AppId, u64> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.of.iter().map(|(app, row)| (app.clone(), row.sent)).collect()
    }

    /// `lines` are about to be sent. A file that cannot be written costs the count only.
    pub fn add(&self, app: &AppId, lines: u64) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match rows.of.get_mut(app) {
            Some(row) => self.count(app, row, lines),
            None => match rows.begin(app) {
                Some(row) => self.count(app, row, lines),
                None => return,
            },
        };
        if let Err(error) = written
            && !self.broken.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "the log ledger cannot be written: a crash would lose its count");
        }
    }

    fn count(&self, app: &AppId, row: &mut Row, lines: u64) -> io::Result<()> {
        row.sent += lines;
        if !row.is_there {
            self.file.write_all_at(&bytes(app, row.sent), row.at)?;
            row.is_there = true;
            return Ok(());
        }
        match &self.counts {
            Some(counts) => counts.store(row.at, row.sent.to_le()),
            None => self.file.write_all_at(&row.sent.to_le_bytes(), row.at),
        }
    }

    pub(crate) fn forget(&self, app: &AppId) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.of.remove(app) {
            rows.free.push(row.at);
            // A row that stays is an app without a journal: nothing is told of it.
            drop(self.file.write_all_at(&[0; ROW_BYTES], row.at));
        }
    }
}

impl Rows {
    fn begin(&mut self, app: &AppId) -> Option<&mut Row> {
        if app.as_str().len() > ID_BYTES_MAX || self.of.len() >= APPS_MAX {
            return None;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.end += ROW_BYTES as u64;
            self.end - ROW_BYTES as u64
        });
        Some(self.of.entry(app.clone()).or_insert(Row { at, sent: 0, is_there: false }))
    }
}

fn bytes(app: &AppId, sent: u64) -> [u8; ROW_BYTES] {
    let mut row = [0; ROW_BYTES];
    let (count, rest) = row.split_at_mut(8);
    count.copy_from_slice(&sent.to_le_bytes());
    let id = app.as_str().as_bytes();
    for (place, byte) in rest.iter_mut().zip(u8::try_from(id.len()).iter().chain(id)) {
        *place = *byte;
    }
    row
}

/// `None` for a free row and for what is no row of ours.
fn parse(row: &[u8]) -> Option<(AppId, u64)> {
    let (count, rest) = row.split_first_chunk()?;
    let (length, id) = rest.split_first()?;
    let id = std::str::from_utf8(id.get(..usize::from(*length))?).ok()?;
    (!id.is_empty()).then(|| (AppId::new(id), u64::from_le_bytes(*count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, is_mapped: bool) -> Ledger {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let counts = Mapped::of(&file, APPS_MAX * ROW_BYTES).filter(|_| is_mapped);
        Ledger::counting(file, counts).unwrap()
    }

    #[test]
    fn counts_outlive_their_writer() {
        // Where files cannot be memory, both ways are the same.
        for is_mapped in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ledger");
            let app = |n: usize| AppId::new(format!("app-{n}"));
            let ledger = open(&path, is_mapped);
            for n in 0..5 {
                ledger.add(&app(n), 10);
                ledger.add(&app(n), n as u64);
            }
            ledger.forget(&app(1));
            ledger.add(&AppId::new("x".repeat(60)), 1);
            // Neither closed nor told: as after kill -9.
            let again = open(&path, is_mapped);
            let want = [0, 2, 3, 4].map(|n| (app(n), 10 + n as u64));
            assert_eq!(again.before(), &BTreeMap::from(want));
            assert_eq!(&again.sent(), again.before());
            again.add(&app(7), 1);
            again.add(&app(0), 1);
            let again = open(&path, is_mapped);
            assert_eq!((again.before()[&app(7)], again.before()[&app(0)]), (1, 11));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 5 * 64, "places are used again");
        }
    }

    #[test]
    fn a_row_that_finds_no_room_is_written_when_there_is_some() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        drop(open(&path, true));
        let (app, other) = (AppId::new("app"), AppId::new("other"));
        // A file that is not open for writing refuses like a full disk does.
        let mut ledger = Ledger::counting(File::open(&path).unwrap(), None).unwrap();
        ledger.add(&app, 1);
        ledger.add(&app, 1);
        ledger.file = File::options().write(true).open(&path).unwrap();
        ledger.add(&app, 1);
        ledger.add(&other, 1);
        let want = BTreeMap::from([(app, 3), (other, 1)]);
        assert_eq!(open(&path, true).before(), &want);
    }

    #[test]
    fn a_torn_or_foreign_file_is_read_as_far_as_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let mut file = bytes(&AppId::new("kept"), 7).to_vec();
        file.extend([0xff; 64]);
        file.extend([1; 5]);
        std::fs::write(&path, file).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.before(), &BTreeMap::from([(AppId::new("kept"), 7)]));
    }
}
