//! The last route table on disk, so that a router starts without the rest of the platform.

use crate::Routes;
use crate::error::SavedTableError;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// `None` when nothing was ever saved.
pub(crate) fn load(path: &Path) -> Result<Option<Routes>, SavedTableError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SavedTableError::Read { path: path.to_owned(), source }),
    };
    let routes = serde_json::from_slice(&text)
        .map_err(|source| SavedTableError::Parse { path: path.to_owned(), source })?;
    Ok(Some(routes))
}

/// The table saved at `path`, if there is one that can be read. Whoever publishes to a router that
/// starts from it has to begin above its generation.
pub fn last(path: &Path) -> Option<Routes> {
    load(path).ok().flatten()
}

/// Replaces the file as a whole: after a crash it holds the old table or the new one.
pub fn save(path: &Path, routes: &Routes) -> Result<(), SavedTableError> {
    let text = serde_json::to_vec(routes).map_err(|source| SavedTableError::Encode { source })?;
    replace(path, &text).map_err(|source| SavedTableError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.json");
        assert_eq!(load(&path).unwrap(), None);
        let routes = Routes { generation: 7, ..Routes::default() };
        save(&path, &routes).unwrap();
        assert_eq!(load(&path).unwrap(), Some(routes));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(&path, b"{\"generation\": 7").unwrap();
        assert!(matches!(load(&path), Err(SavedTableError::Parse { .. })));
        let nowhere = folder.path().join("missing/routes.json");
        assert!(matches!(save(&nowhere, &Routes::default()), Err(SavedTableError::Write { .. })));
    }
}
