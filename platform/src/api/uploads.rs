//! Tickets for slug blobs: the secret part of a blob's URL, good for an hour and for one direction.

use crate::state::model::Slug;
use crate::state::secrets::random_token;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const EXPIRY: Duration = Duration::from_hours(1);
/// Tickets kept at once; the oldest give way.
const TICKETS_MAX: usize = 10_000;

/// Kept in memory only: after a restart a client asks for the slug again and gets another URL.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    tickets: Mutex<HashMap<String, Ticket>>,
}

/// What a blob URL is good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// To put the blob, which has to have this checksum if one was announced.
    Upload {
        checksum: Option<String>,
    },
    Download,
}

#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) app: String,
    pub(super) purpose: Purpose,
    slug: String,
    until: Instant,
}

impl Uploads {
    /// Gives the secret.
    pub(super) fn add(&self, slug: &Slug, purpose: Purpose) -> String {
        let now = Instant::now();
        let mut tickets = self.lock();
        tickets.retain(|_, ticket| ticket.until > now);
        if tickets.len() >= TICKETS_MAX {
            let oldest = tickets.iter().min_by_key(|(_, ticket)| ticket.until);
            if let Some(secret) = oldest.map(|(secret, _)| secret.clone()) {
                tickets.remove(&secret);
            }
        }
        let secret = random_token("");
        let ticket =
            Ticket { app: slug.app.clone(), purpose, slug: slug.id.clone(), until: now + EXPIRY };
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
