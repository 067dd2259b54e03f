//! What an archive has put where so far, so that no entry can replace, shadow or enter another.

use crate::path::TreePath;
use crate::{Exceeded, Limit};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Paths are kept as 64-bit keyed hashes: a hostile archive of long names costs no more than any other.
/// The key is drawn anew each time, so nobody can prepare a collision; by chance one among 100,000
/// paths has odds of one in 10^9, and would refuse an archive, never accept one.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    places: HashMap<u64, Place>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Folder,
    File,
    Link,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Clash {
    /// The path is taken.
    Twice,
    /// One of the folders on the way is a file or a link.
    Below,
    /// More places than allowed, folders that were only implied included.
    TooMany(Exceeded),
}

impl Seen {
    /// Takes `path`, and the folders it implies.
    pub(crate) fn admit(&mut self, path: &TreePath, place: Place, max: u64) -> Result<(), Clash> {
        for folder in path.ancestors() {
            let hash = self.hasher.hash_one(folder);
            if *self.places.entry(hash).or_insert(Place::Folder) != Place::Folder {
                return Err(Clash::Below);
            }
        }
        let hash = self.hasher.hash_one(path.as_bytes());
        match self.places.insert(hash, place) {
            Some(Place::Folder) if place == Place::Folder => {}
            Some(_) => return Err(Clash::Twice),
            None => {}
        }
        Limit::Entries.check(self.count(), max).map_err(Clash::TooMany)
    }

    pub(crate) fn is_file(&self, path: &TreePath) -> bool {
        self.places.get(&self.hasher.hash_one(path.as_bytes())) == Some(&Place::File)
    }

    pub(crate) fn count(&self) -> u64 {
        self.places.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{Clash, Place, Seen};
    use crate::path::TreePath;
    use crate::{Exceeded, Limit, Limits};

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    #[test]
    fn nothing_is_replaced_or_entered() {
        let mut seen = Seen::default();
        let steps = [
            ("a/b", Place::File, Ok(())),
            ("a", Place::Folder, Ok(())),
            ("a", Place::Folder, Ok(())),
            ("a/b", Place::File, Err(Clash::Twice)),
            ("a/b/c", Place::File, Err(Clash::Below)),
            ("l", Place::Link, Ok(())),
            ("l/x/y", Place::File, Err(Clash::Below)),
            ("a", Place::File, Err(Clash::Twice)),
        ];
        for (text, place, wanted) in steps {
            assert_eq!(seen.admit(&path(text), place, 100), wanted, "{text}");
        }
        assert!(seen.is_file(&path("a/b")) && !seen.is_file(&path("l")));
    }

    #[test]
    fn implied_folders_count() {
        let mut seen = Seen::default();
        let exceeded = Exceeded { limit: Limit::Entries, found: 4, max: 3 };
        let refused = Err(Clash::TooMany(exceeded));
        assert_eq!(seen.admit(&path("a/b/c/d"), Place::File, 3), refused);
    }
}
