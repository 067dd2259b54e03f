//! What the hub held when it was last heard of, read back from its journal.

use super::row::{self, Account, Row};
use super::{JournalError, MAGIC};
use crate::AppId;
use crate::block::Block;
use crate::drain::{Left, Mark};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Reading stops here whatever the file holds.
const JOURNAL_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Kept {
    /// By app in order.
    pub(crate) blocks: Vec<Block>,
    pub(crate) accounts: HashMap<AppId, Account>,
    /// One for each drain.
    pub(crate) marks: Vec<Mark>,
}

/// What an earlier run has left; nothing when there is no file.
pub(crate) fn load(path: &Path) -> Result<Kept, JournalError> {
    let failed = |source| JournalError::Read { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => read(BufReader::new(file.take(JOURNAL_BYTES_MAX))).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(failed(error)),
    }
}

/// Of accounts and marks the last one counts. Lines count once their app's account follows: what a
/// killed process was about to write is in part there and in part not, and is told as lost whole.
fn read(mut file: impl BufRead) -> io::Result<Kept> {
    let mut magic = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    let (mut kept, mut marks) = (Kept::default(), HashMap::new());
    let mut open: HashMap<AppId, (Vec<Block>, Vec<Mark>)> = HashMap::new();
    if magic != MAGIC {
        return Ok(kept);
    }
    while let Some(row) = row::read(&mut file)? {
        match row {
            Row::Block(block) => open.entry(block.app.clone()).or_default().0.push(block),
            Row::Mark(mark) => match open.get_mut(&mark.app) {
                Some((_, waiting)) => waiting.push(mark),
                None => drop(marks.insert(mark.drain.clone(), mark)),
            },
            Row::Account(app, account) => {
                let (blocks, moved) = open.remove(&app).unwrap_or_default();
                kept.blocks.extend(blocks);
                marks.extend(moved.into_iter().map(|mark| (mark.drain.clone(), mark)));
                kept.accounts.insert(app, account);
            }
        }
    }
    kept.marks = marks.into_values().collect();
    Ok(kept)
}

impl Kept {
    pub(crate) fn lines(&self) -> usize {
        self.blocks.iter().map(Block::lines).sum()
    }

    /// By drain, what it has still to deliver.
    pub(crate) fn left(&self) -> HashMap<String, Left> {
        let mut lines: HashMap<&AppId, Vec<&Block>> = HashMap::new();
        if !self.marks.is_empty() {
            for block in &self.blocks {
                lines.entry(&block.app).or_default().push(block);
            }
        }
        let left = self.marks.iter().map(|mark| {
            let lines = lines.get(&mark.app).into_iter().flatten().copied();
            (mark.drain.clone(), Left::new(mark.clone(), lines))
        });
        left.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::tests::block;
    use crate::journal::{Journal, Rows};
    use crate::loss::Loss;
    use crate::{Cursor, DrainCounts};
    use jiff::Timestamp;

    fn said(first: u64, lines: u64) -> Block {
        let texts: Vec<_> = (first..first + lines).map(|at| at.to_string()).collect();
        block(first, &texts)
    }

    fn mark(under_way: Option<(u64, u64)>, waiting: Option<u64>, counts: DrainCounts) -> Mark {
        Mark {
            drain: "d1".to_owned(),
            app: AppId::new("a"),
            under_way: under_way.map(|(first, last)| (Cursor(first), Cursor(last))),
            waiting: waiting.map(Cursor),
            untold: Loss { lines: 4, since: Some(Timestamp::constant(1_700_000_000, 0)) },
            counts,
        }
    }

    #[test]
    fn what_is_held_is_kept_and_what_is_appended_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        assert_eq!(load(&path).unwrap(), Kept::default());
        let mut journal = Journal::new(path.clone());
        let account = Account { taken: 9, dropped: 1, posted: 8 };
        let kept = Kept {
            blocks: vec![said(1, 2)],
            accounts: [(AppId::new("a"), account)].into(),
            marks: vec![mark(None, None, DrainCounts::default())],
        };
        journal.renew(&kept).unwrap();
        assert_eq!(load(&path).unwrap(), kept);

        let mut rows = Rows::default();
        let counts = DrainCounts { taken: 9, delivered: 2, dropped: 4, pending: 3 };
        let now = mark(Some((1, 2)), Some(5), counts);
        rows.block(&said(3, 3));
        rows.mark(&now);
        rows.account(&AppId::new("a"), Account { taken: 12, dropped: 1, posted: 11 });
        rows.block(&said(6, 1));
        journal.append(&rows).unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!((loaded.lines(), &loaded.marks), (5, &vec![now]));
        // 3 and 4 had been dropped when 5 came.
        let left = &loaded.left()["d1"];
        assert_eq!(left.under_way, [said(1, 2)].into_iter().collect());
        assert_eq!(left.waiting, [said(5, 1)].into_iter().collect());
        assert_eq!(left.untold.lines, 4);

        std::fs::write(&path, b"something else").unwrap();
        assert_eq!(load(&path).unwrap(), Kept::default());
    }

    #[test]
    fn a_line_that_is_not_there_any_more_is_lost_and_counted() {
        let counts = DrainCounts { taken: 5, delivered: 1, dropped: 1, pending: 3 };
        let kept = Kept {
            blocks: vec![said(9, 1)],
            marks: vec![mark(None, Some(7), counts)],
            ..Kept::default()
        };
        let left = &kept.left()["d1"];
        assert_eq!(left.waiting, [said(9, 1)].into_iter().collect());
        assert_eq!((left.untold.lines, left.counts.dropped), (6, 3));
        assert_eq!(left.counts.pending, 1);
    }
}
