//! An accept loop for the API: with a time limit on headers, a bound on connections, and an end.

use super::patience::Impatient;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CONNECTIONS_MAX: usize = 1024;
/// `axum::serve` has no such limit and would wait for a slow client for ever.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that takes nothing of its answer for so long is gone: the follower of a log, say, whose
/// session the log has ended.
const WRITE_TIMEOUT: Duration = Duration::from_mins(5);
/// A connection that was accepted a moment before the stop may still say what it wants.
const FIRST_WORD: Duration = Duration::from_secs(1);
/// How long requests may go on after the stop was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets open requests finish for a moment.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    app: Router,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tls = tls.map(TlsAcceptor::from);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (tls, app, stop) = (tls.clone(), app.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, tls, app, stop).await;
            drop(place);
        });
    }
    connections.close();
    // Those that do not end are cut by dropping the runtime.
    drop(tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await);
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a connection could not be accepted"
            );
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    app: Router,
    stop: CancellationToken,
) {
    // Small answers should not wait for more; it is an optimisation only.
    drop(stream.set_nodelay(true));
    match tls {
        None => speak(stream, app, stop).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = handshake {
                speak(stream, app, stop).await;
            }
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    stop: CancellationToken,
) {
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(
            TokioIo::new(Impatient::new(stream, WRITE_TIMEOUT)),
            TowerToHyperService::new(app),
        );
    tokio::pin!(http);
    let first_word = tokio::time::sleep(FIRST_WORD);
    let leave = async {
        stop.cancelled().await;
        first_word.await;
    };
    let ended = tokio::select! {
        ended = &mut http => ended,
        () = leave => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "an API connection ended early");
    }
}
