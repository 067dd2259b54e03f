//! The last-good record: what was last wanted, on this machine's disk, so that every dyno comes
//! back after a reboot with no API, no database and no network.

use crate::spec::Desired;
use lathe_slug::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

const NAME: &str = "last-good.json";

/// Config vars are in it: its owner's eyes only.
const MODE: u32 = 0o600;

#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a list of dynos")]
    Content {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// Writes down each change until the sender is gone; of changes that come faster than the disk
/// only the newest. A disk that fails costs the record, never the dynos.
pub(crate) async fn keep(dir: PathBuf, mut desired: watch::Receiver<Arc<Desired>>) {
    while desired.changed().await.is_ok() {
        let (dir, desired) = (dir.clone(), desired.borrow_and_update().clone());
        let saved = tokio::task::spawn_blocking(move || save(&dir, &desired)).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(
                error = crate::cell::perform::chain(&error),
                "the last-good record is out of date"
            );
        }
    }
}

/// The record, if there is one that reads.
pub(crate) async fn load(dir: &Path) -> Option<Desired> {
    let dir = dir.to_owned();
    match tokio::task::spawn_blocking(move || read(&dir)).await {
        Ok(Ok(desired)) => desired,
        Ok(Err(error)) => {
            tracing::error!(
                error = crate::cell::perform::chain(&error),
                "no last-good record: nothing is started until the API says what"
            );
            None
        }
        Err(_) => None,
    }
}

fn save(dir: &Path, desired: &Desired) -> Result<(), RecordError> {
    let path = dir.join(NAME);
    let text = match serde_json::to_vec(desired) {
        Ok(text) => text,
        Err(source) => return Err(RecordError::Content { path, source }),
    };
    fs::atomic_write(&path, &text, MODE).map_err(|source| RecordError::Write { path, source })
}

fn read(dir: &Path) -> Result<Option<Desired>, RecordError> {
    let path = dir.join(NAME);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RecordError::Read { path, source }),
    };
    match serde_json::from_slice(&text) {
        Ok(desired) => Ok(Some(desired)),
        Err(source) => Err(RecordError::Content { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_saved_is_loaded_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let desired = crate::fake::desired(7, ["web.1", "worker.1"]);
        save(dir.path(), &desired).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(desired));
        let mode = std::fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_record_is_an_error_not_an_empty_wish() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), b"{\"generation\":7").unwrap();
        assert!(matches!(read(dir.path()), Err(RecordError::Content { .. })));
    }
}
