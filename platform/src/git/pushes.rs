//! The pushes under way: who pushes where, how to end them, and which app is being deployed.

use super::access::Access;
use super::repo;
use crate::state::secrets::random_token;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a quarantine is swept that does not get empty, and how long between two tries.
const SWEEP_MAX: Duration = Duration::from_secs(3);
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// One push. Its id is a secret between us and the hooks of its own git.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) id: String,
    pub(super) access: Access,
    pub(super) repo: PathBuf,
    /// Fires when the client has gone or the push has ended.
    pub(super) cancel: CancellationToken,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Pushes {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    pushes: HashMap<String, Arc<Push>>,
    /// App to the push that deploys it, from before its build until git has moved the ref: a second
    /// build must not begin in between, its push would then fail on the moved ref.
    deploying: HashMap<String, String>,
}

/// A push for as long as this lives. Dropping it cancels whatever still happens for it.
#[derive(Debug)]
pub(super) struct Underway {
    pushes: Pushes,
    pub(super) push: Arc<Push>,
}

impl Pushes {
    pub(super) fn begin(&self, access: Access, repo: PathBuf) -> Underway {
        let cancel = CancellationToken::new();
        let push = Arc::new(Push { id: random_token(""), access, repo, cancel });
        self.lock().pushes.insert(push.id.clone(), Arc::clone(&push));
        Underway { pushes: self.clone(), push }
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Push>> {
        self.lock().pushes.get(id).cloned()
    }

    /// Makes `push` the one that deploys its app; false when another one does.
    pub(super) fn deploy(&self, push: &Push) -> bool {
        let mut inner = self.lock();
        if !inner.pushes.contains_key(&push.id) {
            return false;
        }
        let deploying = inner.deploying.entry(push.access.app.id.clone());
        *deploying.or_insert_with(|| push.id.clone()) == push.id
    }

    /// The quarantines that nobody fills any more: while no push is under way, all of them.
    fn abandoned(&self, repo: &Path) -> Vec<PathBuf> {
        // Under the lock no push begins, so none of these is one that is being made.
        let inner = self.lock();
        if inner.pushes.values().any(|push| push.repo == repo) {
            return Vec::new();
        }
        repo::quarantines(repo).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Underway {
    /// Ends it and removes what its git has left; to be called when git has ended, but not well.
    /// Git removes its quarantine when it exits, and not when a signal ends it.
    pub(super) async fn sweep(self) {
        let (pushes, repo) = (self.pushes.clone(), self.push.repo.clone());
        drop(self);
        let swept = tokio::task::spawn_blocking(move || {
            pushes.abandoned(&repo).iter().try_for_each(|quarantine| remove(quarantine))
        });
        if let Ok(Err(error)) = swept.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a quarantine stays");
        }
    }
}

/// Whoever was killed while it made a file in there has made it a moment later.
fn remove(quarantine: &Path) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match std::fs::remove_dir_all(quarantine) {
            Err(error)
                if error.kind() == ErrorKind::DirectoryNotEmpty && began.elapsed() < SWEEP_MAX =>
            {
                std::thread::sleep(SWEEP_PAUSE);
            }
            done => return done,
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.push.cancel.cancel();
        let mut inner = self.pushes.lock();
        inner.pushes.remove(&self.push.id);
        inner.deploying.retain(|_, id| *id != self.push.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::model::{Account, App};
    use jiff::Timestamp;

    fn access(app: &str) -> Access {
        let created_at = Timestamp::UNIX_EPOCH;
        let account = Account { id: "o".into(), email: "o@example.org".into(), created_at };
        let app = App {
            id: app.into(),
            name: app.into(),
            owner: account.clone(),
            uid: 200_000,
            system: false,
            maintenance: false,
            acm: false,
            current: None,
            candidate: None,
            created_at,
            updated_at: created_at,
        };
        Access { account, app }
    }

    #[tokio::test]
    async fn the_last_push_takes_every_quarantine_along() {
        let repo = tempfile::tempdir().unwrap();
        let left = repo.path().join("objects/tmp_objdir-incoming-x/pack");
        std::fs::create_dir_all(&left).unwrap();
        let pushes = Pushes::default();
        let first = pushes.begin(access("a"), repo.path().to_owned());
        let second = pushes.begin(access("a"), repo.path().to_owned());
        first.sweep().await;
        assert!(left.exists(), "it may be the other one's");
        second.sweep().await;
        assert!(!left.parent().unwrap().exists());
    }

    #[test]
    fn one_push_deploys_an_app_at_a_time() {
        let pushes = Pushes::default();
        let first = pushes.begin(access("a"), PathBuf::new());
        let second = pushes.begin(access("a"), PathBuf::new());
        let other = pushes.begin(access("b"), PathBuf::new());
        assert!(pushes.deploy(&first.push) && pushes.deploy(&first.push));
        assert!(!pushes.deploy(&second.push) && pushes.deploy(&other.push));
        let ended = Arc::clone(&first.push);
        drop(first);
        assert!(ended.cancel.is_cancelled());
        assert!(pushes.find(&ended.id).is_none() && !pushes.deploy(&ended));
        assert!(pushes.deploy(&second.push));
    }
}
