//! The journal's rows and their bytes: length (4 bytes, little endian), kind (1 byte), content.

use crate::drain::Mark;
use crate::{AppId, Cursor, Entry, Line, Source};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// A longer row is none of ours: a line has at most 30,000 bytes.
const ROW_BYTES_MAX: u32 = 64 << 10;

const ENTRY: u8 = b'e';
const ACCOUNT: u8 = b'a';
const MARK: u8 = b'm';

/// What the hub knows of one app beside its lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Lines that came in at the door, before any was split.
    pub(crate) taken: u64,
    /// Lines lost before they came in.
    pub(crate) dropped: u64,
    /// Lines put into the ring, pieces and the hub's own included.
    pub(crate) posted: u64,
}

#[derive(Debug, PartialEq)]
pub(super) enum Row {
    Entry(Entry),
    Account(AppId, Account),
    Mark(Mark),
}

/// Rows on their way to the file.
#[derive(Debug, Default)]
pub(crate) struct Rows(Vec<u8>);

impl Rows {
    pub(crate) fn entry(&mut self, entry: &Entry) {
        let Line { app, time, source, process, text } = &*entry.line;
        let (app, process) = (app.as_str().as_bytes(), process.as_bytes());
        self.row(ENTRY, |out| {
            out.extend_from_slice(&entry.cursor.0.to_le_bytes());
            out.extend_from_slice(&time.as_microsecond().to_le_bytes());
            out.push(u8::from(*source == Source::Heroku));
            for word in [app, process] {
                out.extend_from_slice(&u16::try_from(word.len()).unwrap_or(0).to_le_bytes());
                out.extend_from_slice(word);
            }
            out.extend_from_slice(text);
        });
    }

    pub(crate) fn account(&mut self, app: &AppId, account: Account) {
        self.json(ACCOUNT, &(app, account));
    }

    pub(crate) fn mark(&mut self, mark: &Mark) {
        self.json(MARK, mark);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    fn json(&mut self, kind: u8, row: &impl Serialize) {
        // These structures have neither keys that are no strings nor writers that fail.
        self.row(kind, |out| drop(serde_json::to_writer(out, row)));
    }

    fn row(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0, 0, 0, kind]);
        write(&mut self.0);
        let length = u32::try_from(self.0.len() - start - 4).unwrap_or(u32::MAX);
        if let Some(place) = self.0.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }
}

/// The next row; `None` at the end, and where a write was cut short or the bytes are no row.
pub(super) fn read(file: &mut impl BufRead) -> io::Result<Option<Row>> {
    let mut head = [0; 4];
    let mut content = Vec::new();
    file.by_ref().take(4).read_to_end(&mut content)?;
    if content.len() < 4 {
        return Ok(None);
    }
    head.copy_from_slice(&content);
    let length = u32::from_le_bytes(head);
    if length > ROW_BYTES_MAX {
        return Ok(None);
    }
    content.clear();
    file.by_ref().take(length.into()).read_to_end(&mut content)?;
    if content.len() < length as usize {
        return Ok(None);
    }
    Ok(parse(&content))
}

fn parse(row: &[u8]) -> Option<Row> {
    let (kind, content) = row.split_first()?;
    match *kind {
        ENTRY => entry(content).map(Row::Entry),
        ACCOUNT => {
            let (app, account) = serde_json::from_slice(content).ok()?;
            Some(Row::Account(app, account))
        }
        MARK => serde_json::from_slice(content).ok().map(Row::Mark),
        _ => None,
    }
}

fn entry(content: &[u8]) -> Option<Entry> {
    let (cursor, rest) = content.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    let (source, rest) = rest.split_first()?;
    let (app, rest) = word(rest)?;
    let (process, text) = word(rest)?;
    let line = Line {
        app: AppId::new(app),
        time: Timestamp::from_microsecond(i64::from_le_bytes(*time)).ok()?,
        source: if *source == 0 { Source::App } else { Source::Heroku },
        process: Arc::from(process),
        text: Bytes::copy_from_slice(text),
    };
    Some(Entry { cursor: Cursor(u64::from_le_bytes(*cursor)), line: Arc::new(line) })
}

fn word(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (word, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((std::str::from_utf8(word).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(text: &str) -> Entry {
        let line = Line {
            app: AppId::new("a"),
            time: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            source: Source::Heroku,
            process: Arc::from("router"),
            text: Bytes::from(text.to_owned()),
        };
        Entry { cursor: Cursor(7), line: Arc::new(line) }
    }

    fn all(mut bytes: &[u8]) -> Vec<Row> {
        std::iter::from_fn(|| read(&mut bytes).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in "\\PC{0,300}", taken: u64, cut in 0usize..400) {
            let mut rows = Rows::default();
            let account = Account { taken, dropped: 1, posted: 2 };
            rows.entry(&line(&text));
            rows.account(&AppId::new("a"), account);
            let want = [Row::Entry(line(&text)), Row::Account(AppId::new("a"), account)];
            prop_assert_eq!(all(rows.bytes()), &want);
            // A write that was cut short loses what it cut, no more.
            let end = cut.min(rows.bytes().len() - 1);
            let kept = all(&rows.bytes()[..end]);
            prop_assert!(kept.len() < 2 && kept.iter().all(|row| want.contains(row)));
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            all(&bytes);
        }
    }
}
