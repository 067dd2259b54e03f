//! The last-good record: what was last wanted, on this machine's disk, so that every dyno comes
//! back after a reboot with no API, no database and no network.

use super::seal::Seal;
use crate::spec::Desired;
use lathe_slug::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

const NAME: &str = "last-good";

/// As early versions kept it: for everybody to read who gets hold of the disk.
const UNSEALED: &str = "last-good.json";

/// Config vars are in it: its owner's eyes only.
const MODE: u32 = 0o600;

/// Why the record could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
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
    #[error("{path} was sealed by somebody else, or is damaged")]
    Seal { path: PathBuf },
    #[error("{path} is not a list of dynos")]
    Content {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// The record's file, and who seals it.
#[derive(Clone, Debug)]
pub struct Record {
    path: PathBuf,
    seal: Arc<dyn Seal>,
}

/// Writes down each change until the sender is gone; of changes that come faster than the disk
/// only the newest. A disk that fails costs the record, never the dynos.
pub(crate) async fn keep(record: Record, mut desired: watch::Receiver<Arc<Desired>>) {
    while desired.changed().await.is_ok() {
        let (record, desired) = (record.clone(), desired.borrow_and_update().clone());
        let saved = tokio::task::spawn_blocking(move || record.save(&desired)).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(
                error = crate::cell::perform::chain(&error),
                "the last-good record is out of date"
            );
        }
    }
}

/// What the record says, if there is one that reads. One that was never sealed is removed.
pub(crate) async fn load(record: Record) -> Option<Desired> {
    let reading = move || {
        if let Err(error) = record.remove_unsealed() {
            tracing::warn!(%error, "an old record with config vars in it cannot be removed");
        }
        record.read()
    };
    match tokio::task::spawn_blocking(reading).await {
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

impl Record {
    /// That of the cell that keeps it in `dir`.
    pub fn new(dir: &Path, seal: Arc<dyn Seal>) -> Self {
        Self { path: dir.join(NAME), seal }
    }

    fn save(&self, desired: &Desired) -> Result<(), RecordError> {
        let path = self.path.clone();
        let text = match serde_json::to_vec(desired) {
            Ok(text) => text,
            Err(source) => return Err(RecordError::Content { path, source }),
        };
        let saved = fs::atomic_write(&path, &self.seal.seal(&text), MODE);
        saved.map_err(|source| RecordError::Write { path, source })
    }

    fn remove_unsealed(&self) -> io::Result<()> {
        match std::fs::remove_file(self.path.with_file_name(UNSEALED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// What was last wanted; none when nothing ever was.
    pub fn read(&self) -> Result<Option<Desired>, RecordError> {
        let path = self.path.clone();
        let sealed = match std::fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RecordError::Read { path, source }),
        };
        let Some(text) = self.seal.open(&sealed) else { return Err(RecordError::Seal { path }) };
        match serde_json::from_slice(&text) {
            Ok(desired) => Ok(Some(desired)),
            Err(source) => Err(RecordError::Content { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::seal::Unsealed;
    use std::os::unix::fs::PermissionsExt;

    /// A cipher of its kind: every byte becomes another, and the first tells whose it is.
    #[derive(Debug)]
    struct Key(u8);

    impl Seal for Key {
        fn seal(&self, plain: &[u8]) -> Vec<u8> {
            [&[self.0], plain].concat().iter().map(|byte| byte ^ 0xff).collect()
        }

        fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
            let plain: Vec<u8> = sealed.iter().map(|byte| byte ^ 0xff).collect();
            plain.strip_prefix(&[self.0]).map(<[u8]>::to_vec)
        }
    }

    #[test]
    fn what_is_saved_is_loaded_by_who_sealed_it_only() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::new(dir.path(), Arc::new(Key(1)));
        assert_eq!(record.read().unwrap(), None);
        let desired = crate::fake::desired(7, ["web.1", "worker.1"]);
        record.save(&desired).unwrap();
        assert_eq!(record.read().unwrap(), Some(desired));
        let stranger = Record::new(dir.path(), Arc::new(Key(2)));
        assert!(matches!(stranger.read(), Err(RecordError::Seal { .. })));
        let text = std::fs::read(dir.path().join(NAME)).unwrap();
        assert!(!text.windows(5).any(|part| part == b"web.1"));
        let mode = std::fs::metadata(dir.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_record_that_was_never_sealed_is_removed_and_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join(UNSEALED);
        std::fs::write(&old, "{}").unwrap();
        for _ in 0..2 {
            assert_eq!(load(Record::new(dir.path(), Arc::new(Unsealed))).await, None);
            assert!(!old.exists());
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_not_an_empty_wish() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), b"{\"generation\":7").unwrap();
        let record = Record::new(dir.path(), Arc::new(Unsealed));
        assert!(matches!(record.read(), Err(RecordError::Content { .. })));
    }
}
