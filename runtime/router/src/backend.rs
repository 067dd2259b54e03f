//! One dyno as the router sees it: its address, its quarantine, its idle connections.

use crate::Target;
use crate::connection::Connection;
use crate::in_flight::{Counter, InFlight, Visit};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Kept across route tables for as long as the dyno is in them; keyed by the dyno's identity, so
/// nothing here outlives the dyno even if its address is given to another.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) target: Target,
    quarantined_until: Mutex<Option<Instant>>,
    idle: Mutex<Vec<Idle>>,
    /// Looked up with its first request.
    in_flight: OnceLock<Counter>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Backend {
    pub(crate) fn new(target: Target) -> Self {
        let (quarantined_until, idle) = (Mutex::default(), Mutex::default());
        Self { target, quarantined_until, idle, in_flight: OnceLock::new() }
    }

    /// Counts a request for as long as the visit is kept.
    pub(crate) fn enter(&self, in_flight: &InFlight) -> Visit {
        self.in_flight.get_or_init(|| in_flight.of(&self.target.dyno)).enter()
    }

    pub(crate) fn is_quarantined(&self, now: Instant) -> bool {
        lock(&self.quarantined_until).is_some_and(|until| now < until)
    }

    pub(crate) fn quarantine(&self, until: Instant) {
        *lock(&self.quarantined_until) = Some(until);
        lock(&self.idle).clear();
    }

    pub(crate) fn clear_quarantine(&self) {
        *lock(&self.quarantined_until) = None;
    }

    /// An idle connection the dyno has not closed, the most recently used first.
    pub(crate) fn take_idle(&self, now: Instant, keep_alive: Duration) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        while let Some(Idle { mut connection, since }) = idle.pop() {
            if now.duration_since(since) < keep_alive && connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    pub(crate) fn put_idle(&self, connection: Connection, now: Instant, bound: usize) {
        let mut idle = lock(&self.idle);
        if !connection.is_closed() && idle.len() < bound {
            idle.push(Idle { connection, since: now });
        }
    }

    /// Closes connections that nobody has used for `keep_alive`, or that the dyno has closed.
    pub(crate) fn sweep(&self, now: Instant, keep_alive: Duration) {
        let is_fresh = |idle: &Idle| now.duration_since(idle.since) < keep_alive;
        lock(&self.idle).retain_mut(|idle| is_fresh(idle) && idle.connection.is_ready());
    }
}

/// A panic while one of these is held leaves the data whole: every critical section is one call.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
