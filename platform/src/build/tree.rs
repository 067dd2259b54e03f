//! Commits and trees as git writes them down. Git documentation, gitformat-pack(5) and gitglossary(7).

use git2::Oid;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use tar::EntryType;

const ID_BYTES: usize = 20;

/// What is needed of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Commit {
    pub(super) tree: Oid,
    /// When it was committed: Unix time, and 0 before that.
    pub(super) seconds: u64,
}

/// None of what is no commit.
pub(super) fn commit(text: &[u8]) -> Option<Commit> {
    let mut lines = text.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    let tree = lines.next()?.strip_prefix(b"tree ")?;
    let tree = Oid::from_str(std::str::from_utf8(tree).ok().filter(|tree| tree.len() == 40)?);
    let committer = lines.find_map(|line| line.strip_prefix(b"committer "));
    Some(Commit { tree: tree.ok()?, seconds: committer.and_then(seconds).unwrap_or(0) })
}

/// `NAME <MAIL> SECONDS ZONE`
fn seconds(committer: &[u8]) -> Option<u64> {
    let after = committer.rsplit(|byte| *byte == b'>').next()?;
    std::str::from_utf8(after).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// A name in a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry<'a> {
    mode: u32,
    name: &'a [u8],
    pub(super) id: Oid,
}

impl Entry<'_> {
    pub(super) fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.name)
    }

    // What a tree may hold. Git documentation, git-fast-import(1), "filemodify".
    pub(super) fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    pub(super) fn is_link(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
    }

    /// Neither folder nor submodule: a link is one, too.
    pub(super) fn is_file(&self) -> bool {
        self.mode & 0o170_000 != 0o160_000 && !self.is_folder()
    }

    /// Of a file.
    pub(super) fn as_in_tar(&self) -> (EntryType, u32) {
        match self.mode & 0o100 {
            _ if self.is_link() => (EntryType::Symlink, 0o777),
            0 => (EntryType::Regular, 0o644),
            _ => (EntryType::Regular, 0o755),
        }
    }
}

/// None of what is no tree, or has a name that is a path.
pub(super) fn entries(mut tree: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    while !tree.is_empty() {
        let (mode, rest) = cut(tree, b' ')?;
        let (name, rest) = cut(rest, 0)?;
        let (id, rest) = rest.split_at_checked(ID_BYTES)?;
        let mode = u32::from_str_radix(std::str::from_utf8(mode).ok()?, 8).ok()?;
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
            return None;
        }
        entries.push(Entry { mode, name, id: Oid::from_bytes(id).ok()? });
        tree = rest;
    }
    Some(entries)
}

/// What is before and after the first such byte.
fn cut(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::path::{Component, Path};

    #[test]
    fn commits() {
        let tree = "ab".repeat(20);
        let read = |rest: &str| commit(format!("tree {tree}\n{rest}").as_bytes());
        let at = |seconds| Some(Commit { tree: Oid::from_str(&tree).unwrap(), seconds });
        let cases = [
            (
                "parent x\nauthor A <a> 1 +0000\ncommitter C <c> 1700000000 +0100\n\nm",
                at(1_700_000_000),
            ),
            ("committer > 5 <c> 7 +0000\n", at(7)),
            ("committer C <c> -7 +0000\n\n", at(0)),
            ("author A <a> 1 +0000\n\ncommitter C <c> 9 +0000\n", at(0)),
            ("", at(0)),
        ];
        for (rest, expected) in cases {
            assert_eq!(read(rest), expected, "{rest:?}");
        }
        for text in ["", "tree \n", "tree abc\n", "object x\n", "tree \u{e9}\n"] {
            assert_eq!(commit(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn names_that_are_paths_make_no_tree() {
        let entry = |name: &str| [b"100644 ", name.as_bytes(), b"\0", &[7; 20]].concat();
        assert_eq!(entries(&entry("a")).unwrap().len(), 1);
        assert_eq!(entries(&[entry("a"), entry("...")].concat()).unwrap().len(), 2);
        for name in ["", ".", "..", "/etc/passwd", "a/b"] {
            assert_eq!(entries(&[entry("a"), entry(name)].concat()), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_tree_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(entries(&bytes).is_none_or(|all| all.len() <= bytes.len() / ID_BYTES));
            prop_assert!(commit(&bytes).is_none() || bytes.starts_with(b"tree "));
        }

        /// What is a name of one file is as the standard library takes it.
        #[test]
        fn every_name_is_that_of_one_file(
            names in prop::collection::vec(prop::collection::vec(select(b"./ab\xff\n"), 0..4), 0..4)
        ) {
            let one = |name: &Vec<u8>| {
                let mut parts = Path::new(OsStr::from_bytes(name)).components();
                let first = parts.next();
                matches!(first, Some(Component::Normal(part)) if part.as_bytes() == name)
                    && parts.next().is_none()
            };
            let tree: Vec<Vec<u8>> =
                names.iter().map(|name| [b"100644 ", &name[..], b"\0", &[7; 20]].concat()).collect();
            prop_assert_eq!(entries(&tree.concat()).is_some(), names.iter().all(one), "{:?}", names);
        }

        #[test]
        fn what_is_written_is_read(
            written in prop::collection::vec((0_u32..0o200_000, "[a-z.]{3,9}", any::<[u8; 20]>()), 0..9)
        ) {
            let mut bytes = Vec::new();
            for (mode, name, id) in &written {
                bytes.extend([format!("{mode:o} {name}\0").as_bytes(), id].concat());
            }
            let read = entries(&bytes).unwrap();
            prop_assert_eq!(read.len(), written.len());
            for (entry, (mode, name, id)) in read.iter().zip(&written) {
                prop_assert_eq!((entry.mode, entry.name), (*mode, name.as_bytes()));
                prop_assert_eq!(entry.id.as_bytes(), id);
            }
        }
    }
}
