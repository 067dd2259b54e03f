//! One client connection: its handshake, its requests with their deadlines, its end.

use crate::config::Successor;
use crate::doors::{Door, Entrance};
use crate::proxy::{self, Router};
use crate::serve::Stop;
use crate::session::{Overdue, Session};
use crate::wire::Wire;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::{ProtocolVersion, ServerConnection};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// One client connection from its first byte to its last, a tunnel included.
pub(crate) async fn converse(
    router: Arc<Router>,
    stream: TcpStream,
    client: SocketAddr,
    door: Door,
    stopping: watch::Receiver<Stop>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set nodelay");
    }
    match door {
        Door::Plain => talk(router, stream, client, Entrance::Plain, stopping).await,
        Door::Tls => {
            let Some(stream) = shake_hands(&router, stream, &stopping).await else { return };
            let entrance = Entrance::Tls(version(stream.get_ref().1));
            // Much larger than the other, which should not pay for it.
            Box::pin(talk(router, stream, client, entrance, stopping)).await;
        }
    }
}

/// Nothing when that fails, takes too long, or the router ends meanwhile.
async fn shake_hands(
    router: &Router,
    stream: TcpStream,
    stopping: &watch::Receiver<Stop>,
) -> Option<TlsStream<TcpStream>> {
    // One of its own: what comes meanwhile is news to the connection still.
    let mut stopping = stopping.clone();
    let shaking = TlsAcceptor::from(Arc::clone(&router.tls)).accept(stream);
    tokio::select! {
        shaken = timeout(router.config.handshake_timeout, shaking) => {
            match shaken {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                Err(_) => tracing::debug!("a handshake took too long"),
            }
        }
        _ = stopping.wait_for(|stop| *stop == Stop::Force) => {}
    }
    None
}

/// As log lines have it (Heroku Dev Center, "Router 2.0").
fn version(connection: &ServerConnection) -> &'static str {
    match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "tls1.2",
        Some(ProtocolVersion::TLSv1_3) => "tls1.3",
        _ => "unknown",
    }
}

async fn talk(
    router: Arc<Router>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: SocketAddr,
    entrance: Entrance,
    mut stopping: watch::Receiver<Stop>,
) {
    let config = Arc::clone(&router.config);
    let session = Arc::new(Session::new(client.ip(), entrance, Instant::now()));
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
    let first_word = Instant::now() + config.first_word_timeout;
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            overdue = poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => alarm.poll(session.phase().deadline(&config), cx).map(Some),
            }) => match overdue {
                Some(Overdue::Write) => return session.mark_stalled(),
                // It is polled now, and looks at the clock itself.
                Some(Overdue::Answer) => session.wake_at(None),
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
    use std::time::Duration;

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
