//! One client connection between and around its requests: what phase it is in, and until when.

use crate::RouterConfig;
use crate::doors::Entrance;
use crate::headers;
use crate::tunnel::Tunnel;
use http::HeaderValue;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Shared by the socket, the requests and the connection's own task.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its address, as dynos and log lines have it.
    pub(crate) client: HeaderValue,
    pub(crate) entrance: Entrance,
    phase: Mutex<Phase>,
    /// Told with the first byte and with each request; only the connection's own task waits for it.
    stirred: Notify,
    tunnel: Mutex<Option<Tunnel>>,
    /// The connection ends because the client stopped reading.
    stalled: AtomicBool,
    /// The connection ends because the router does.
    forced: AtomicBool,
}

/// What the connection waits for. Pure: times come from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Phase {
    state: State,
    /// Since when the client has not taken what was written.
    write_blocked: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Open, nothing was ever sent.
    Silent(Instant),
    /// The first byte of a head has come.
    Head(Instant),
    /// A request is being served, which has asked to be woken then.
    Busy(Option<Instant>),
    /// Between two requests.
    Idle(Instant),
}

/// Why a connection is looked at, and mostly closed, without being asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Overdue {
    Silent,
    Head,
    KeepAlive,
    Write,
    /// Nothing is to be closed: the request that is being served has waited long enough.
    Answer,
}

impl Phase {
    fn new(now: Instant) -> Self {
        Self { state: State::Silent(now), write_blocked: None }
    }

    fn is_silent(self) -> bool {
        matches!(self.state, State::Silent(_))
    }

    fn is_busy(self) -> bool {
        matches!(self.state, State::Busy(_))
    }

    /// Bytes came in.
    fn read(self, now: Instant) -> Self {
        match self.state {
            State::Silent(_) | State::Idle(_) => Self { state: State::Head(now), ..self },
            State::Head(_) | State::Busy(_) => self,
        }
    }

    /// When the connection is overdue, and for what: the earliest of its limits.
    pub(crate) fn deadline(self, config: &RouterConfig) -> Option<(Instant, Overdue)> {
        let state = match self.state {
            State::Silent(since) => Some((since + config.silent_timeout, Overdue::Silent)),
            State::Head(since) => Some((since + config.header_timeout, Overdue::Head)),
            State::Idle(since) => Some((since + config.keep_alive_timeout, Overdue::KeepAlive)),
            State::Busy(alarm) => alarm.map(|at| (at, Overdue::Answer)),
        };
        let write = self.write_blocked.map(|since| (since + config.idle_timeout, Overdue::Write));
        [state, write].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

impl Session {
    pub(crate) fn new(client: IpAddr, entrance: Entrance, now: Instant) -> Self {
        Self {
            client: headers::address(client),
            entrance,
            phase: Mutex::new(Phase::new(now)),
            stirred: Notify::new(),
            tunnel: Mutex::default(),
            stalled: AtomicBool::default(),
            forced: AtomicBool::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        *lock(&self.phase)
    }

    pub(crate) fn bytes_read(&self, now: Instant) {
        let mut phase = lock(&self.phase);
        if phase.is_silent() {
            self.stirred.notify_one();
        }
        *phase = phase.read(now);
    }

    /// Waits until the client has sent anything at all.
    pub(crate) async fn heard(&self) {
        while self.phase().is_silent() {
            self.stirred.notified().await;
        }
    }

    pub(crate) fn write_blocked(&self, now: Instant) {
        lock(&self.phase).write_blocked.get_or_insert(now);
    }

    pub(crate) fn wrote(&self) {
        lock(&self.phase).write_blocked = None;
    }

    /// Waits until a request is being served.
    pub(crate) async fn busy(&self) {
        while !self.phase().is_busy() {
            self.stirred.notified().await;
        }
    }

    pub(crate) fn request_began(&self) {
        lock(&self.phase).state = State::Busy(None);
        self.stirred.notify_one();
    }

    /// When the request that is being served wants to be woken: the connection has a timer already,
    /// which is cheaper than one for each request.
    pub(crate) fn wake_at(&self, at: Option<Instant>) {
        if let State::Busy(alarm) = &mut lock(&self.phase).state {
            *alarm = at;
        }
    }

    pub(crate) fn request_ended(&self, now: Instant) {
        lock(&self.phase).state = State::Idle(now);
    }

    pub(crate) fn keep_tunnel(&self, tunnel: Tunnel) {
        *lock(&self.tunnel) = Some(tunnel);
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        lock(&self.tunnel).take()
    }

    pub(crate) fn mark_stalled(&self) {
        self.stalled.store(true, Ordering::Release);
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    pub(crate) fn mark_forced(&self) {
        self.forced.store(true, Ordering::Release);
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.forced.load(Ordering::Acquire)
    }
}

/// Every critical section here is one assignment, so a panic cannot leave half a state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_phase_has_its_limit() {
        let config = RouterConfig::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let silent = Phase::new(start);
        let head = silent.read(at(3));
        let busy = Phase { state: State::Busy(None), write_blocked: None };
        let idle = Phase { state: State::Idle(at(4)), write_blocked: None };
        for (name, phase, expected) in [
            ("silent", silent, Some((at(60), Overdue::Silent))),
            ("head", head, Some((at(13), Overdue::Head))),
            ("more head is no excuse", head.read(at(9)), Some((at(13), Overdue::Head))),
            ("busy", busy, None),
            ("pipelined bytes", busy.read(at(9)), None),
            (
                "waiting for a dyno",
                Phase { state: State::Busy(Some(at(30))), ..busy },
                Some((at(30), Overdue::Answer)),
            ),
            ("idle", idle, Some((at(94), Overdue::KeepAlive))),
            ("next head", idle.read(at(50)), Some((at(60), Overdue::Head))),
            (
                "not reading",
                Phase { write_blocked: Some(at(1)), ..busy },
                Some((at(56), Overdue::Write)),
            ),
            (
                "not reading the end",
                Phase { write_blocked: Some(at(1)), ..idle },
                Some((at(56), Overdue::Write)),
            ),
        ] {
            assert_eq!(phase.deadline(&config), expected, "{name}");
        }
    }
}
