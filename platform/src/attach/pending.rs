//! Attached one-offs that wait for their client.

use super::record;
use super::window::Window;
use crate::services::Services;
use crate::state::secrets::random_token;
use lathe_dynos::spec::{DynoId, DynoSpec};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The one that has waited longest gives way to a new one.
const PENDING_MAX: usize = 512;
/// Heroku's sample log has R13 this long after "Awaiting client".
const PATIENCE: Duration = Duration::from_secs(30);

/// What shall start when a client brings the right token.
#[derive(Debug, Default)]
pub struct Pending {
    waiting: Mutex<HashMap<String, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    expected: Expected,
    since: Instant,
    patience: AbortHandle,
}

#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) id: DynoId,
    pub(super) spec: DynoSpec,
    /// None: pipes instead of a terminal.
    pub(super) window: Option<Window>,
}

impl Pending {
    /// Remembers what shall start, and gives the token with which its client will come. One that
    /// does not come in time has missed its dyno (R13).
    pub fn expect(
        self: &Arc<Self>,
        services: &Services,
        id: DynoId,
        spec: DynoSpec,
        window: Option<Window>,
    ) -> String {
        services.oneoffs.await_client(&spec);
        let token = random_token("");
        let mut waiting = self.waiting();
        if waiting.len() >= PENDING_MAX {
            let longest = waiting.iter().min_by_key(|(_, entry)| entry.since);
            let longest = longest.map(|(token, _)| token.clone());
            if let Some(entry) = longest.and_then(|token| waiting.remove(&token)) {
                entry.patience.abort();
                tokio::spawn(miss(services.clone(), entry.expected));
            }
        }
        let patience = tokio::spawn({
            let (pending, services, token) = (self.clone(), services.clone(), token.clone());
            async move {
                tokio::time::sleep(PATIENCE).await;
                // Its own handle is in the entry: an abort comes after the end, or not at all.
                let entry = pending.waiting().remove(&token);
                if let Some(entry) = entry {
                    miss(services, entry.expected).await;
                }
            }
        });
        let expected = Expected { id, spec, window };
        let (since, patience) = (Instant::now(), patience.abort_handle());
        waiting.insert(token.clone(), Waiting { expected, since, patience });
        token
    }

    /// What the token stands for, once.
    pub(super) fn claim(&self, token: &str) -> Option<Expected> {
        let entry = self.waiting().remove(token)?;
        entry.patience.abort();
        Some(entry.expected)
    }

    /// Gives up one that still waits for its client; false when none does under this identity.
    pub async fn withdraw(&self, services: &Services, id: DynoId) -> bool {
        let entry = {
            let mut waiting = self.waiting();
            let token = waiting.iter().find(|(_, entry)| entry.expected.id == id);
            let token = token.map(|(token, _)| token.clone());
            token.and_then(|token| waiting.remove(&token))
        };
        let Some(entry) = entry else { return false };
        entry.patience.abort();
        record::complete(services, id, record::NEVER_RAN).await;
        true
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn miss(services: Services, expected: Expected) {
    services.oneoffs.client_missed(&expected.spec);
    record::complete(&services, expected.id, record::NEVER_RAN).await;
}
