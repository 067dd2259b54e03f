//! What the governor keeps on disk: settings for good, balances and history over a restart.

use super::State;
use super::history::History;
use super::ledger::Kept;
use super::rollout::Rollout;
use crate::spec::DynoId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

const ROLLOUT: &str = "rollout.json";
const ACCOUNTS: &str = "accounts.json";
const HISTORY: &str = "history.json";

/// Whatever cannot be read is begun anew, and said.
pub(super) fn load(dir: &Path) -> State {
    let mut state = State {
        rollout: read(&dir.join(ROLLOUT)).unwrap_or_default(),
        history: read(&dir.join(HISTORY)).unwrap_or_default(),
        ..State::default()
    };
    state.tenants.remember(read(&dir.join(ACCOUNTS)).unwrap_or_default());
    state
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "cannot be read and is begun anew");
            return None;
        }
    };
    let parsed = serde_json::from_slice(&bytes);
    if let Err(error) = &parsed {
        tracing::error!(%error, path = %path.display(), "is damaged and begun anew");
    }
    parsed.ok()
}

/// On disk when it returns.
pub(super) fn save_rollout(dir: &Path, rollout: &Rollout) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    lathe_slug::fs::atomic_write(&dir.join(ROLLOUT), &serde_json::to_vec(rollout)?, 0o600)
}

pub(super) fn save_accounts(dir: &Path, accounts: &BTreeMap<DynoId, Kept>) -> io::Result<()> {
    save(dir, ACCOUNTS, accounts)
}

pub(super) fn save_history(dir: &Path, history: &History) -> io::Result<()> {
    save(dir, HISTORY, history)
}

/// Whole or not at all, but not synced: after a reboot there is no dyno to account for, and the
/// governor waits for no disk.
fn save(dir: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let temporary = dir.join(format!(".{name}"));
    fs::write(&temporary, serde_json::to_vec(value)?)?;
    fs::rename(temporary, dir.join(name))
}
