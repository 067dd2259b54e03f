//! Tickets for slug blobs: the secret part of a blob's URL, good for an hour.

use crate::state::model::Slug;
use crate::state::secrets::random_token;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const EXPIRY: Duration = Duration::from_secs(3600);
const TICKETS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Uploads {
    tickets: Mutex<HashMap<String, Ticket>>,
}

/// What a blob URL is good for.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) app: String,
    pub(super) checksum: Option<String>,
    slug: String,
    until: Instant,
}

impl Uploads {
    pub(super) fn add(&self, slug: &Slug, checksum: Option<String>) -> String {
        let now = Instant::now();
        let mut tickets = self.lock();
        tickets.retain(|_, ticket| ticket.until > now);
        if tickets.len() >= TICKETS_MAX {
            tickets.clear();
        }
        let secret = random_token("");
        let ticket =
            Ticket { app: slug.app.clone(), checksum, slug: slug.id.clone(), until: now + EXPIRY };
        tickets.insert(secret.clone(), ticket);
        secret
    }

    pub(super) fn get(&self, slug: &str, secret: &str) -> Option<Ticket> {
        let now = Instant::now();
        self.lock().get(secret).filter(|t| t.slug == slug && t.until > now).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
