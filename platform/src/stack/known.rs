//! Where stacks were found: what cannot be read for a moment is not gone, and a dyno whose stack is
//! gone is stopped.

use super::{Stack, StackError};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The roots that were found so far, by digest.
#[derive(Debug, Default)]
pub struct Known(Mutex<BTreeMap<String, PathBuf>>);

impl Known {
    /// Where the stack with this digest is: as it is known, or as `find` says.
    pub fn root(
        &self,
        digest: &str,
        find: impl FnOnce() -> Result<Option<Stack>, StackError>,
    ) -> Result<Option<PathBuf>, StackError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = known.get(digest).filter(|root| !is_gone(root)) {
            return Ok(Some(root.clone()));
        }
        known.remove(digest);
        let found = find()?.map(|stack| stack.root);
        known.extend(found.iter().map(|root| (digest.to_owned(), root.clone())));
        Ok(found)
    }
}

/// Not when nobody can tell.
fn is_gone(root: &Path) -> bool {
    match fs::metadata(root) {
        Ok(there) => !there.is_dir(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_stays_known_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let stack = || Stack { name: "lathe-12".into(), digest: "d".into(), root: root.clone() };
        let known = Known::default();
        let cannot_tell = || Err(StackError::Gone);
        assert!(known.root("d", cannot_tell).is_err(), "not known yet");
        fs::create_dir(&root).unwrap();
        assert_eq!(known.root("d", || Ok(Some(stack()))).unwrap(), Some(root.clone()));
        assert_eq!(known.root("d", cannot_tell).unwrap(), Some(root.clone()));
        assert!(known.root("e", cannot_tell).is_err(), "another one");
        fs::remove_dir(&root).unwrap();
        assert_eq!(known.root("d", || Ok(None)).unwrap(), None);
    }
}
