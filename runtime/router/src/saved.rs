//! What a router was told last, on disk, so that it starts without the rest of the platform.

use crate::error::SavedError;
use crate::{Keyring, Routes};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// `None` when nothing was ever saved.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SavedError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SavedError::Read { path: path.to_owned(), source }),
    };
    let loaded = serde_json::from_slice(&text)
        .map_err(|source| SavedError::Parse { path: path.to_owned(), source })?;
    Ok(Some(loaded))
}

/// The table saved at `path`, if there is one that can be read. Whoever publishes to a router that
/// starts from it has to begin above its generation.
pub fn last(path: &Path) -> Option<Routes> {
    load(path).ok().flatten()
}

/// The keyring saved at `path`, if there is one that can be read.
pub fn last_keyring(path: &Path) -> Option<Keyring> {
    load(path).ok().flatten()
}

/// Replaces the file as a whole: after a crash it holds the old table or the new one.
pub fn save(path: &Path, routes: &Routes) -> Result<(), SavedError> {
    write(path, routes, PUBLIC, None)
}

/// The same for a keyring. Only `reader`, a user's number, can read the file; none: whoever saves it.
pub fn save_keyring(path: &Path, keyring: &Keyring, reader: Option<u32>) -> Result<(), SavedError> {
    write(path, keyring, PRIVATE, reader)
}

fn write(
    path: &Path,
    what: &impl Serialize,
    mode: u32,
    owner: Option<u32>,
) -> Result<(), SavedError> {
    let failed = |source| SavedError::Write { path: path.to_owned(), source };
    let text = serde_json::to_vec(what)
        .map_err(|source| SavedError::Encode { path: path.to_owned(), source })?;
    replace(path, &text, mode, owner).map_err(failed)
}

fn replace(path: &Path, text: &[u8], mode: u32, owner: Option<u32>) -> io::Result<()> {
    let fresh = path.with_extension("new");
    // One that a crash has left may be another's, or open to others.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
    if owner.is_some() {
        fchown(&file, owner, owner)?;
    }
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Saves without holding up whoever serves; a failure is told and no more: what applies applies.
pub(crate) async fn report(save: impl FnOnce() -> Result<(), SavedError> + Send + 'static) {
    match tokio::task::spawn_blocking(save).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "what the router was told applies but is not saved");
        }
        Err(error) => tracing::error!(%error, "saving what the router was told failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.json");
        assert_eq!(load::<Routes>(&path).unwrap(), None);
        let routes = Routes { generation: 7, ..Routes::default() };
        save(&path, &routes).unwrap();
        assert_eq!(load(&path).unwrap(), Some(routes));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(&path, b"{\"generation\": 7").unwrap();
        assert!(matches!(load::<Routes>(&path), Err(SavedError::Parse { .. })));
        let nowhere = folder.path().join("missing/routes.json");
        assert!(matches!(save(&nowhere, &Routes::default()), Err(SavedError::Write { .. })));
    }

    #[test]
    fn a_keyring_is_for_its_reader_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.json");
        // As a crash may have left it.
        fs::write(path.with_extension("new"), b"half").unwrap();
        save_keyring(&path, &Keyring::default(), None).unwrap();
        assert_eq!(load(&path).unwrap(), Some(Keyring::default()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE);
    }
}
