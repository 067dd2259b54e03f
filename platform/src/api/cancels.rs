//! The builds begun by API that can still be cancelled.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
pub(super) struct Cancels {
    tokens: Mutex<HashMap<String, CancellationToken>>,
}

impl Cancels {
    /// One build an app at a time: the map is as bounded as the apps.
    pub(super) fn add(&self, build: &str, token: CancellationToken) {
        self.lock().insert(build.to_owned(), token);
    }

    pub(super) fn remove(&self, build: &str) {
        self.lock().remove(build);
    }

    /// False when there is no such build any more.
    pub(super) fn cancel(&self, build: &str) -> bool {
        let token = self.lock().get(build).cloned();
        token.inspect(CancellationToken::cancel).is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
