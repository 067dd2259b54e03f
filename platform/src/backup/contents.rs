//! What is in a backup: its first and its last entry, and the names in between.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::digest::Output;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Component, Path};

/// Of this layout; a reader refuses any other.
pub(super) const FORMAT: u32 = 1;
pub(super) const HEAD: &str = "lathe-backup.json";
pub(super) const MANIFEST: &str = "manifest.json";

/// Files of the data directory that are taken as they are, when they are there.
pub(crate) const FILES: [&str; 3] = ["lathe.toml", "state.key", "owner-token"];
/// Folders of which every file is.
pub(crate) const TLS: &str = "tls";
pub(crate) const STATE: &str = "state.db";
pub(super) const SLUGS: &str = "slugs";
pub(super) const GIT: &str = "git";

/// The first entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    pub format: u32,
    /// The version that made it.
    pub lathe: String,
    /// Of the state.
    pub schema: i64,
    pub made_at: Timestamp,
    /// Digests of the stacks that the releases run on. They are not in the backup: a machine makes
    /// them itself, or is given them.
    pub stacks: Vec<String>,
}

/// The last entry: every other one, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Hexadecimal.
    pub(super) sha256: String,
}

impl Entry {
    pub(super) fn new(name: &str, bytes: u64, digest: &Output<Sha256>) -> Self {
        let sha256 = digest.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").ok();
            text
        });
        Self { name: name.to_owned(), bytes, sha256 }
    }
}

impl Manifest {
    /// The first entry that is not what this says, and what is wrong with it.
    pub(super) fn first_wrong(&self, found: &[Entry]) -> Option<(String, &'static str)> {
        for (n, said) in self.entries.iter().enumerate() {
            match found.get(n) {
                Some(entry) if entry == said => {}
                Some(entry) if entry.name == said.name => {
                    return Some((
                        said.name.clone(),
                        "its bytes are not those that were backed up",
                    ));
                }
                _ => return Some((said.name.clone(), "it is missing")),
            }
        }
        let more = found.get(self.entries.len())?;
        Some((more.name.clone(), "it was not backed up"))
    }
}

/// Whether a restore may make a file of that name: `state.db`, or one folder and a plain name.
pub(super) fn is_expected(name: &str) -> bool {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let parts: Vec<&str> = name.split('/').collect();
    plain
        && match parts.as_slice() {
            [one] => FILES.contains(one) || *one == STATE,
            [folder, file] => {
                [TLS, SLUGS, GIT].contains(folder) && !file.is_empty() && !file.starts_with('.')
            }
            _ => false,
        }
}

pub(super) fn digest(bytes: &[u8]) -> Output<Sha256> {
    Sha256::digest(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_entry_is_named() {
        let entry = |name: &str, text: &str| Entry::new(name, 1, &digest(text.as_bytes()));
        let manifest =
            Manifest { entries: vec![entry("a", "1"), entry("b", "2"), entry("c", "3")] };
        let name = |found: &[Entry]| manifest.first_wrong(found).map(|(name, _)| name);
        assert_eq!(name(&manifest.entries), None);
        let other = [entry("a", "1"), entry("b", "x"), entry("c", "y")];
        assert_eq!(name(&other).as_deref(), Some("b"));
        assert_eq!(name(&other[..1]).as_deref(), Some("b"));
        let more = [manifest.entries.clone(), vec![entry("d", "4")]].concat();
        assert_eq!(name(&more).as_deref(), Some("d"));
    }

    #[test]
    fn only_names_of_backups_are_restored() {
        for name in ["state.db", "state.key", "tls/ca.pem", "slugs/ab.tgz", "git/x.pack"] {
            assert!(is_expected(name), "{name}");
        }
        for name in [
            "",
            "/state.db",
            "../state.db",
            "slugs/../x",
            "slugs/.x",
            "git/a/b",
            "run/x",
            "lock",
            "slugs",
            "slugs/",
            "./state.db",
            "tls//x",
        ] {
            assert!(!is_expected(name), "{name}");
        }
    }
}
