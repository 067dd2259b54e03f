//! The accept loop: bounded, never spinning, and ended gracefully.

use crate::board::{self, Board};
use crate::config::{LastTable, Successor};
use crate::error::RouterError;
use crate::pick::Dice;
use crate::proxy::{self, Router};
use crate::session::{Overdue, Session};
use crate::wire::Wire;
use crate::{RouterConfig, Routes};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Sleep;

/// After the machine refused a connection (no descriptors, no memory): time for others to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A client whom the end finds silent has this long, from its arrival, to say what it wants: it was
/// let in, and a door that closes on it would lose its request.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// How far the end has come; every connection watches it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stop {
    Serve,
    /// Finish what is in flight, take no second request.
    Drain,
    /// Tunnels end now: they would go on for as long as they may.
    Close,
    /// The grace is over.
    Force,
}

/// Routes requests from `listener` until `shutdown`, then lets requests in flight finish within
/// the configured grace. `tables` carries complete tables; only a higher generation applies.
///
/// While those finish, however long they take, new clients are served beside them, unless another
/// router is there for them. Then nothing is accepted any more: where somebody else holds the
/// listening socket too, clients wait in its queue for whoever accepts next, and only as long as
/// the last short requests take.
pub async fn run(
    listener: TcpListener,
    tables: watch::Receiver<Arc<Routes>>,
    logs: lathe_logs::Sender,
    config: Arc<RouterConfig>,
    shutdown: impl Future,
) -> Result<(), RouterError> {
    let board = Arc::new(Board::open(
        config.last_table.as_ref().map(LastTable::path),
        config.in_force.clone(),
    ));
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let router = Arc::new(Router {
        config: Arc::clone(&config),
        board: Arc::clone(&board),
        dice: Dice::new(seed),
        logs,
    });
    let follow = board::follow(board, tables, Arc::clone(&config));
    tokio::select! {
        ended = serve(listener, &router, shutdown) => ended,
        () = follow => Ok(()),
    }
}

async fn serve(
    listener: TcpListener,
    router: &Arc<Router>,
    shutdown: impl Future,
) -> Result<(), RouterError> {
    let places = Arc::new(Semaphore::new(router.config.max_connections));
    let grace = router.config.shutdown_grace;
    let (mut early, mut late) = (Shift::new(Stop::Serve), Shift::new(Stop::Drain));
    tokio::select! {
        accepted = early.accept_all(&listener, router, &places) => accepted?,
        _ = shutdown => {}
    }
    early.stop.send_replace(Stop::Drain);
    if router.config.successor == Successor::Present {
        drop(listener);
        early.end(grace).await;
        return Ok(());
    }
    tokio::select! {
        accepted = late.accept_all(&listener, router, &places) => accepted?,
        () = early.end(grace) => {}
    }
    drop(listener);
    late.stop.send_replace(Stop::Close);
    late.end(grace).await;
    Ok(())
}

/// Connections that were accepted in the same state of the router, and end together.
#[derive(Debug)]
struct Shift {
    connections: JoinSet<()>,
    stop: watch::Sender<Stop>,
}

impl Shift {
    fn new(state: Stop) -> Self {
        Self { connections: JoinSet::new(), stop: watch::Sender::new(state) }
    }

    /// Ends only with an error no waiting can mend.
    async fn accept_all(
        &mut self,
        listener: &TcpListener,
        router: &Arc<Router>,
        places: &Arc<Semaphore>,
    ) -> Result<(), RouterError> {
        loop {
            tokio::select! {
                accepted = accept(listener, places) => match accepted {
                    Ok(Some((place, stream, client))) => {
                        let mut stopping = self.stop.subscribe();
                        // A connection is told of the state into which it comes, too.
                        stopping.mark_changed();
                        let talk = converse(Arc::clone(router), stream, client, place, stopping);
                        self.connections.spawn(talk);
                    }
                    Ok(None) => {}
                    Err(source) => return Err(RouterError::Accept { source }),
                },
                Some(ended) = self.connections.join_next() => report(ended),
            }
        }
    }

    /// Waits for the connections to end, and when the grace is over ends them.
    async fn end(&mut self, grace: Duration) {
        drop(tokio::time::timeout(grace, join_all(&mut self.connections)).await);
        self.stop.send_replace(Stop::Force);
        join_all(&mut self.connections).await;
    }
}

/// The next connection, once there is a place for it. `None`: come again.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)>> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    match listener.accept().await {
        Ok((stream, client)) => Ok(Some((place, stream, client))),
        Err(error) => match recovery(&error) {
            Some(pause) => {
                tracing::warn!(%error, "cannot accept a connection now");
                tokio::time::sleep(pause).await;
                Ok(None)
            }
            None => Err(error),
        },
    }
}

/// How long to wait after a failed accept; `None` when the listener itself is broken.
fn recovery(error: &io::Error) -> Option<Duration> {
    const BROKEN: [io::ErrorKind; 2] = [io::ErrorKind::InvalidInput, io::ErrorKind::NotFound];
    const BAD_DESCRIPTOR: i32 = 9;
    if BROKEN.contains(&error.kind()) || error.raw_os_error() == Some(BAD_DESCRIPTOR) {
        return None;
    }
    match error.kind() {
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => Some(Duration::ZERO),
        _ => Some(ACCEPT_PAUSE),
    }
}

async fn join_all(connections: &mut JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// A panic in one connection must not end the others, nor go unseen.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// One client connection from its first byte to its last, a tunnel included.
async fn converse(
    router: Arc<Router>,
    stream: TcpStream,
    client: SocketAddr,
    _place: OwnedSemaphorePermit,
    mut stopping: watch::Receiver<Stop>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set nodelay");
    }
    let config = Arc::clone(&router.config);
    let session = Arc::new(Session::new(client, Instant::now()));
    let service = service_fn({
        let session = Arc::clone(&session);
        move |request| proxy::serve(Arc::clone(&router), Arc::clone(&session), request)
    });
    let mut http = http1::Builder::new();
    // The session's deadlines replace hyper's, which cannot tell an idle connection from a slow head.
    http.header_read_timeout(None).max_headers(config.max_headers);
    let wire = Wire::new(stream, Arc::clone(&session));
    let mut connection = pin!(http.serve_connection(TokioIo::new(wire), service).with_upgrades());
    let mut alarm = Alarm::new(Instant::now() + config.silent_timeout);
    let first_word = Instant::now() + FIRST_WORD;
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            overdue = poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => alarm.poll(session.phase().deadline(&config), cx).map(Some),
            }) => match overdue {
                Some(Overdue::Write) => return session.mark_stalled(),
                Some(_) => return,
                None => break,
            },
            stop = next(&mut stopping) => match stop {
                Stop::Serve => {}
                Stop::Drain | Stop::Close => leaving = true,
                Stop::Force => return session.mark_forced(),
            },
            () = parting(&session, config.successor, first_word), if leaving => {
                leaving = false;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    if let Some(tunnel) = session.take_tunnel() {
        tokio::select! {
            () = tunnel.run() => {}
            () = closed(&mut stopping, &session) => {}
        }
    }
}

/// Waits for the moment to tell the client that its connection ends.
///
/// Where a successor accepts already there is no hurry: the client is told with its next answer, as a
/// connection closed between two may cross with the next request, which would be lost. Otherwise the
/// first byte of one that was silent so far is waited for, and no longer than until `at`.
async fn parting(session: &Session, successor: Successor, at: Instant) {
    match successor {
        Successor::Present => session.busy().await,
        // Either way it is over with waiting.
        Successor::ToCome => drop(tokio::time::timeout_at(at.into(), session.heard()).await),
    }
}

/// The next state of the end. A router that is gone altogether counts as forced.
async fn next(stopping: &mut watch::Receiver<Stop>) -> Stop {
    match stopping.changed().await {
        Ok(()) => *stopping.borrow_and_update(),
        Err(_) => Stop::Force,
    }
}

/// Marks the session before the tunnel is dropped, which then logs why.
async fn closed(stopping: &mut watch::Receiver<Stop>, session: &Session) {
    while *stopping.borrow() < Stop::Close && next(stopping).await < Stop::Close {}
    session.mark_forced();
}

/// A timer for a deadline that moves with every request: set again only when the deadline came
/// nearer or the timer fired, so that a busy connection never touches the timer wheel.
#[derive(Debug)]
struct Alarm {
    timer: Pin<Box<Sleep>>,
    set_for: Instant,
}

impl Alarm {
    fn new(at: Instant) -> Self {
        Self { timer: Box::pin(tokio::time::sleep_until(at.into())), set_for: at }
    }

    fn set(&mut self, at: Instant) {
        self.timer.as_mut().reset(at.into());
        self.set_for = at;
    }

    fn poll(
        &mut self,
        deadline: Option<(Instant, Overdue)>,
        cx: &mut Context<'_>,
    ) -> Poll<Overdue> {
        let Some((at, overdue)) = deadline else { return Poll::Pending };
        if at < self.set_for {
            self.set(at);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(overdue);
            }
            self.set(at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_accept_errors_pass() {
        const TOO_MANY_OPEN_FILES: i32 = 24;
        const BAD_DESCRIPTOR: i32 = 9;
        for (error, expected) in [
            (io::Error::from_raw_os_error(TOO_MANY_OPEN_FILES), Some(ACCEPT_PAUSE)),
            (io::ErrorKind::OutOfMemory.into(), Some(ACCEPT_PAUSE)),
            (io::ErrorKind::ConnectionAborted.into(), Some(Duration::ZERO)),
            (io::Error::from_raw_os_error(BAD_DESCRIPTOR), None),
            (io::ErrorKind::InvalidInput.into(), None),
        ] {
            assert_eq!(recovery(&error), expected, "{error}");
        }
    }

    #[tokio::test]
    async fn an_alarm_rings_at_the_deadline_whatever_it_was_set_for() {
        for (set_ms, deadline_ms) in [(10, 60), (3_600_000, 60)] {
            let start = Instant::now();
            let at = |ms| start + Duration::from_millis(ms);
            let mut alarm = Alarm::new(at(set_ms));
            let due = Some((at(deadline_ms), Overdue::Head));
            assert_eq!(poll_fn(|cx| alarm.poll(due, cx)).await, Overdue::Head);
            assert!(Instant::now() >= at(deadline_ms), "set for {set_ms} ms");
        }
    }
}
