//! The journal's rows and their bytes: length (4 bytes, little endian), kind (1 byte), content.

use crate::block::Block;
use crate::drain::Mark;
use crate::{AppId, Cursor, Line, Source};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// A longer row is none of ours.
const ROW_BYTES_MAX: u32 = 256 << 10;

/// A higher place is none of ours, and could not be counted on from.
const PLACE_MAX: u64 = 1 << 62;

const BLOCK: u8 = b'b';
const ACCOUNT: u8 = b'a';
const MARK: u8 = b'm';

/// What the hub knows of one app beside its lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Lines that came in at the door.
    pub(crate) taken: u64,
    /// Lines lost before they came in.
    pub(crate) dropped: u64,
    /// Lines put into the ring, pieces and the hub's own included.
    pub(crate) posted: u64,
}

#[derive(Debug, PartialEq)]
pub(super) enum Row {
    Block(Block),
    Account(AppId, Account),
    Mark(Mark),
}

/// Rows on their way to the file.
#[derive(Debug, Default)]
pub(crate) struct Rows(Vec<u8>);

impl Rows {
    pub(crate) fn block(&mut self, block: &Block) {
        let (app, process) = (block.app.as_str().as_bytes(), block.process.as_bytes());
        self.row(BLOCK, |out| {
            out.extend_from_slice(&block.first.0.to_le_bytes());
            out.extend_from_slice(&block.time.as_microsecond().to_le_bytes());
            out.push(u8::from(block.source == Source::Heroku));
            for word in [app, process] {
                out.extend_from_slice(&u16::try_from(word.len()).unwrap_or(0).to_le_bytes());
                out.extend_from_slice(word);
            }
            out.extend_from_slice(block.text());
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
        BLOCK => block(content).map(Row::Block),
        // One line without its end: a journal from before lines were written together.
        b'e' => block(&[content, b"\n"].concat()).map(Row::Block),
        ACCOUNT => {
            let (app, account) = serde_json::from_slice(content).ok()?;
            Some(Row::Account(app, account))
        }
        MARK => serde_json::from_slice(content).ok().map(Row::Mark),
        _ => None,
    }
}

fn block(content: &[u8]) -> Option<Block> {
    let (first, rest) = content.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    let (source, rest) = rest.split_first()?;
    let (app, rest) = word(rest)?;
    let (process, text) = word(rest)?;
    let line = Line {
        app: AppId::new(app),
        time: Timestamp::from_microsecond(i64::from_le_bytes(*time)).ok()?,
        source: if *source == 0 { Source::App } else { Source::Heroku },
        process: Arc::from(process),
        text: Bytes::new(),
    };
    let first = u64::from_le_bytes(*first);
    let block = Block::new(line, Bytes::copy_from_slice(text))?;
    (first < PLACE_MAX).then(|| block.at(Cursor(first)))
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

    fn said(texts: &[String]) -> Block {
        let mut said = crate::block::tests::block(7, texts);
        said.time = Timestamp::from_microsecond(1_700_000_000_123_456).unwrap();
        (said.source, said.process) = (Source::Heroku, Arc::from("router"));
        said
    }

    fn all(mut bytes: &[u8]) -> Vec<Row> {
        std::iter::from_fn(|| read(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn a_line_of_an_earlier_version_is_read() {
        let (mut rows, want) = (Rows::default(), said(&["one".to_owned()]));
        rows.block(&want);
        let mut row = rows.bytes()[4..].to_vec();
        (row[0], _) = (b'e', row.pop());
        assert_eq!(parse(&row), Some(Row::Block(want)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(texts in prop::collection::vec("\\PC{0,100}", 1..4), taken: u64, cut in 0usize..400) {
            let mut rows = Rows::default();
            let account = Account { taken, dropped: 1, posted: 2 };
            rows.block(&said(&texts));
            rows.account(&AppId::new("a"), account);
            let want = [Row::Block(said(&texts)), Row::Account(AppId::new("a"), account)];
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
