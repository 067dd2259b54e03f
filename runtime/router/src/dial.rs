//! From a request that wants a dyno to an open connection to one.

use crate::Availability;
use crate::backend::Backend;
use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::fault::Fault;
use crate::index::App;
use crate::pick::{self, Attempts, Limits, Step};
use crate::proxy::Router;
use lathe_logs::AppId;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// An open connection to a dyno, for one request.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) connection: Connection,
    /// It has served before, so the dyno may be closing it at this moment.
    pub(crate) reused: bool,
    backend: Arc<Backend>,
    max_idle: usize,
}

impl Lease {
    /// Keeps the connection for the next request, if the dyno does.
    pub(crate) fn give_back(self) {
        self.backend.put_idle(self.connection, Instant::now(), self.max_idle);
    }
}

/// Waits for the app to have dynos, then tries them until one accepts.
pub(crate) async fn dial(
    router: &Router,
    app: &AppId,
    exchange: &mut Exchange,
    may_reuse: bool,
) -> Result<Lease, Fault> {
    let arrived = Instant::now();
    let mut changes = router.board.changes();
    let mut calls = Calls::new(arrived);
    loop {
        let app = router.board.app(app).ok_or(Fault::Platform)?;
        match app.route.availability {
            Availability::Crashed => return Err(Fault::AppCrashed),
            Availability::NoWeb => return Err(Fault::NoWebProcesses),
            Availability::Maintenance => return Err(Fault::Maintenance),
            Availability::Blank => return Err(Fault::BlankApp),
            Availability::Serving if !app.backends.is_empty() => {
                if let Some(lease) =
                    calls.step(router, &app, exchange, &mut changes, may_reuse).await?
                {
                    return Ok(lease);
                }
            }
            Availability::Asleep | Availability::Booting | Availability::Serving => {
                if app.route.availability == Availability::Asleep {
                    router.config.demand.ring();
                }
                let patience = (arrived + router.config.boot_timeout)
                    .saturating_duration_since(Instant::now());
                if patience.is_zero() {
                    return Err(Fault::BootTimeout);
                }
                changed_within(&mut changes, patience).await;
                calls.begun = Instant::now();
            }
        }
    }
}

/// The connection attempts of one request.
#[derive(Debug)]
struct Calls {
    attempts: Attempts,
    begun: Instant,
    last_fault: Option<Fault>,
}

impl Calls {
    fn new(now: Instant) -> Self {
        Self { attempts: Attempts::default(), begun: now, last_fault: None }
    }

    /// One try or one pause. `None`: look at the table and come again.
    async fn step(
        &mut self,
        router: &Router,
        app: &App,
        exchange: &mut Exchange,
        changes: &mut watch::Receiver<u64>,
        may_reuse: bool,
    ) -> Result<Option<Lease>, Fault> {
        let now = Instant::now();
        let config = &router.config;
        let limits = Limits { tries: config.connect_attempts, budget: config.connect_budget };
        let elapsed = now.duration_since(self.begun);
        let weights = app.backends.iter().zip(&app.route.targets);
        let weights =
            weights.map(
                |(backend, target)| {
                    if backend.is_quarantined(now) { 0 } else { target.weight.max(1) }
                },
            );
        let weights: Vec<u32> = weights.collect();
        match pick::next(&weights, self.attempts, elapsed, limits, router.dice.roll()) {
            Step::Try(index) => {
                let Some(backend) = app.backends.get(index) else { return Ok(None) };
                self.attempts.tries += 1;
                self.attempts.rested = false;
                match open(router, backend, exchange, may_reuse).await {
                    Ok(lease) => Ok(Some(lease)),
                    Err(fault) => {
                        self.last_fault = Some(fault);
                        Ok(None)
                    }
                }
            }
            Step::Pause(pause) => {
                self.attempts.pauses += 1;
                self.attempts.rested = true;
                changed_within(changes, pause).await;
                Ok(None)
            }
            Step::OutOfTries => Err(self.last_fault.unwrap_or(Fault::Platform)),
            Step::OutOfTime => Err(Fault::Platform),
        }
    }
}

async fn changed_within(changes: &mut watch::Receiver<u64>, patience: Duration) {
    // A time-out, a change and a closed channel all mean the same: look again.
    let _ = tokio::time::timeout(patience, changes.changed()).await;
}

async fn open(
    router: &Router,
    backend: &Arc<Backend>,
    exchange: &mut Exchange,
    may_reuse: bool,
) -> Result<Lease, Fault> {
    let start = Instant::now();
    let lease = |connection, reused| Lease {
        connection,
        reused,
        backend: Arc::clone(backend),
        max_idle: router.config.max_idle_per_dyno,
    };
    // Before there is a connection: whoever stops this dyno now is to wait for what comes of it.
    exchange.enter(backend.enter(&router.config.in_flight));
    if may_reuse && let Some(connection) = backend.take_idle(start, router.config.dyno_keep_alive) {
        exchange.tried(backend, Duration::ZERO);
        return Ok(lease(connection, true));
    }
    let opened = Connection::open(backend.target.address, router.config.connect_timeout).await;
    exchange.tried(backend, start.elapsed());
    match opened {
        Ok(connection) => {
            backend.clear_quarantine();
            Ok(lease(connection, false))
        }
        Err(error) => {
            exchange.leave();
            let (fault, blamed) = judge(&error);
            if blamed {
                backend.quarantine(Instant::now() + router.config.quarantine);
            }
            tracing::debug!(dyno.id = backend.target.dyno, %error, "cannot connect");
            Err(fault)
        }
    }
}

/// The fault a failed connect amounts to, and whether the dyno is to blame for it: running out of
/// our own descriptors or ports says nothing about the dyno.
fn judge(error: &io::Error) -> (Fault, bool) {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
    };
    match error.kind() {
        ConnectionRefused | ConnectionReset => (Fault::ConnectRefused, true),
        TimedOut | HostUnreachable | NetworkUnreachable => (Fault::ConnectTimeout, true),
        _ => (Fault::Platform, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_fault_a_failed_connect_is() {
        const TOO_MANY_OPEN_FILES: i32 = 24;
        for (kind, expected) in [
            (io::ErrorKind::ConnectionRefused, (Fault::ConnectRefused, true)),
            (io::ErrorKind::TimedOut, (Fault::ConnectTimeout, true)),
            (io::ErrorKind::HostUnreachable, (Fault::ConnectTimeout, true)),
            (io::ErrorKind::AddrNotAvailable, (Fault::Platform, false)),
        ] {
            assert_eq!(judge(&kind.into()), expected, "{kind}");
        }
        let own = io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES);
        assert_eq!(judge(&own), (Fault::Platform, false));
    }
}
