//! The accept loop: bounded, never spinning, and ended gracefully.

use crate::RouterConfig;
use crate::board::{self, Board};
use crate::config::{LastFile, Successor};
use crate::converse::converse;
use crate::doors::{Door, Doors, Feed};
use crate::error::RouterError;
use crate::keys::{self, Keys};
use crate::pick::Dice;
use crate::proxy::Router;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

/// After the machine refused a connection (no descriptors, no memory): time for others to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How far the end has come; every connection watches it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stop {
    Serve,
    /// Finish what is in flight, take no second request.
    Drain,
    /// Tunnels end now: they would go on for as long as they may.
    Close,
    /// The grace is over.
    Force,
}

/// Routes requests from `doors` until `shutdown`, then lets requests in flight finish within the
/// configured grace.
///
/// While those finish, however long they take, new clients are served beside them, unless another
/// router is there for them. Then nothing is accepted any more: where somebody else holds the
/// listening sockets too, clients wait in their queues for whoever accepts next, and only as long as
/// the last short requests take.
pub async fn run(
    doors: Doors,
    feed: Feed,
    logs: lathe_logs::Sender,
    config: Arc<RouterConfig>,
    shutdown: impl Future,
) -> Result<(), RouterError> {
    let saved = |file: &Option<LastFile>| file.as_ref().map(|file| file.path().to_owned());
    let board = Board::open(saved(&config.last_table).as_deref(), config.in_force.clone());
    let keys = Arc::new(Keys::open(saved(&config.last_keyring).as_deref()));
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let router = Arc::new(Router {
        config: Arc::clone(&config),
        board: Arc::new(board),
        tls: keys.server_config()?,
        keys: Arc::clone(&keys),
        dice: Dice::new(seed),
        logs,
    });
    let follow = board::follow(Arc::clone(&router.board), feed.routes, Arc::clone(&config));
    tokio::select! {
        ended = serve(doors, &router, shutdown) => ended,
        () = follow => Ok(()),
        () = keys::follow(keys, feed.keyring, config) => Ok(()),
    }
}

async fn serve(
    doors: Doors,
    router: &Arc<Router>,
    shutdown: impl Future,
) -> Result<(), RouterError> {
    let places = Arc::new(Semaphore::new(router.config.max_connections));
    let grace = router.config.shutdown_grace;
    let (mut early, mut late) = (Shift::new(Stop::Serve), Shift::new(Stop::Drain));
    tokio::select! {
        accepted = early.accept_all(&doors, router, &places) => accepted?,
        _ = shutdown => {}
    }
    early.stop.send_replace(Stop::Drain);
    if router.config.successor == Successor::Present {
        drop(doors);
        early.end(grace).await;
        return Ok(());
    }
    tokio::select! {
        accepted = late.accept_all(&doors, router, &places) => accepted?,
        () = early.end(grace) => {}
    }
    drop(doors);
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
        doors: &Doors,
        router: &Arc<Router>,
        places: &Arc<Semaphore>,
    ) -> Result<(), RouterError> {
        loop {
            tokio::select! {
                accepted = accept(doors, places) => match accepted {
                    Ok(Some((place, stream, client, door))) => {
                        let mut stopping = self.stop.subscribe();
                        // A connection is told of the state into which it comes, too.
                        stopping.mark_changed();
                        let talk = converse(Arc::clone(router), stream, client, door, stopping);
                        self.connections.spawn(async move {
                            talk.await;
                            drop(place);
                        });
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
    doors: &Doors,
    places: &Arc<Semaphore>,
) -> io::Result<Option<(OwnedSemaphorePermit, TcpStream, SocketAddr, Door)>> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    match doors.accept().await {
        Ok((stream, client, door)) => Ok(Some((place, stream, client, door))),
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
}
