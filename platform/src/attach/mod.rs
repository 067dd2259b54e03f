//! One-off dynos and their clients: the rendezvous protocol of `heroku run`.
//!
//! A client comes over TLS, sends the token of its `attach_url`, is greeted with the line
//! `rendezvous`, and from then on speaks with the dyno byte by byte. Public sources of the protocol:
//! the gem `rendezvous` and the Heroku CLI's `lib/dyno`.

mod chunks;
mod client;
mod input;
mod output;
mod pending;
mod record;
mod session;
mod streams;
mod token;
mod traffic;
mod window;

pub use pending::Pending;
pub use record::{Detached, resume};
pub use window::Window;

use crate::services::Services;
use client::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Clients that have not shown a token yet.
const STRANGERS_MAX: usize = 128;
const SESSIONS_MAX: usize = 512;
/// From the connection to the token.
const INTRODUCTION_MAX: Duration = Duration::from_secs(10);
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long sessions may take to let their clients go.
const STOP_MAX: Duration = Duration::from_secs(3);

/// What every session works with.
#[derive(Clone)]
struct Door {
    services: Services,
    pending: Arc<Pending>,
    tls: TlsAcceptor,
    sessions: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Serves attached one-offs until `stop`. Clients then see their connection end; their dynos are
/// hung up when the platform finds them at its next start.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    services: Services,
    pending: Arc<Pending>,
    stop: CancellationToken,
) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    let connections = TaskTracker::new();
    let sessions = Arc::new(Semaphore::new(SESSIONS_MAX));
    let tls = TlsAcceptor::from(tls);
    let door = Door { services, pending, tls, sessions, stop: stop.clone() };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &strangers) => accepted,
        };
        if let Some((stream, place)) = accepted {
            connections.spawn(door.clone().welcome(stream, place));
        }
    }
    connections.close();
    // Those that do not end are cut by dropping the runtime.
    drop(tokio::time::timeout(STOP_MAX, connections.wait()).await);
}

async fn accept(
    listener: &TcpListener,
    strangers: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = strangers.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a rendezvous connection could not be accepted"
            );
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

impl Door {
    /// One connection, from its first byte to its last.
    async fn welcome(self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let introduction = async {
            let mut client = Client::handshake(stream, &self.tls).await.ok()?;
            let (expected, early) = token::read(&mut client.reader, &self.pending).await?;
            Some((client, expected, early))
        };
        let introduced = tokio::select! {
            introduced = tokio::time::timeout(INTRODUCTION_MAX, introduction) => introduced,
            () = self.stop.cancelled() => return,
        };
        drop(place);
        let Ok(Some((client, expected, early))) = introduced else { return };
        // The token is spent: the row has to end whatever happens now.
        let Ok(_place) = self.sessions.try_acquire() else {
            record::complete(&self.services, expected.id, record::NEVER_RAN).await;
            return client.refuse("Too many one-off dynos are attached: try again later.").await;
        };
        session::run(&self.services, client, expected, early, &self.stop).await;
    }
}
