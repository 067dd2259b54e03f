//! The platform's listening sockets: taken over from the platform before it, or bound anew.

use super::api::Doors;
use super::{UpError, router};
use crate::config::Config;
use crate::endpoints::Endpoints;
use lathe_dynos::native::{KeptSocket, NativeEngine};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsFd;
use tokio::net::{TcpListener, TcpSocket};

/// Clients that may wait to be accepted, while one platform takes over from another for instance;
/// the kernel's own limit, `net.core.somaxconn`, is no higher by default.
const BACKLOG: u32 = 4096;

/// Every socket, open before anything is started: a taken port stops nothing half-way.
///
/// The engine keeps a duplicate of each while no platform runs, so that clients wait in its queue
/// instead of being refused.
pub(super) struct Listeners {
    pub(super) router: RouterDoors,
    pub(super) doors: Doors,
    pub(super) endpoints: Endpoints,
}

impl Listeners {
    pub(super) async fn open(config: &Config, engine: &NativeEngine) -> Result<Self, UpError> {
        let listen = &config.listen;
        let wanted = [
            Place { name: ROUTER, address: listen.router },
            Place { name: ROUTER_TLS, address: listen.router_tls },
            Place { name: "api_tls", address: listen.api_tls },
            Place { name: "api_plain", address: listen.api_plain },
            Place { name: "rendezvous", address: listen.rendezvous },
        ];
        let mut kept = take_over(engine, &wanted).await;
        for name in router_places(config) {
            if !kept.iter().any(|kept| kept.name == name) {
                kept.extend(router::listener(engine, &name).await);
            }
        }
        let [router, router_tls, tls, plain, rendezvous] = wanted.map(|place| {
            let left = kept.iter().find(|kept| kept.name == place.label());
            left.map_or_else(|| place.bind(), |left| place.adopt(left))
        });
        let router = RouterDoors { plain: router?, tls: router_tls? };
        let doors = Doors { tls: tls?, plain: plain?, rendezvous: rendezvous? };
        let [at_router, at_router_tls, at_tls, at_plain, at_rendezvous] = &wanted;
        let endpoints = Endpoints {
            api_tls: at_tls.bound(&doors.tls)?,
            api_plain: at_plain.bound(&doors.plain)?,
            rendezvous: at_rendezvous.bound(&doors.rendezvous)?,
            router: at_router.bound(&router.plain)?,
            router_tls: at_router_tls.bound(&router.tls)?,
        };
        let listeners = Self { router, doors, endpoints };
        listeners.hand_over(engine, &wanted).await;
        Ok(listeners)
    }

    /// Gives the engine a duplicate of each socket. Without it this platform serves as well; only
    /// the next one's start will be felt.
    async fn hand_over(&self, engine: &NativeEngine, places: &[Place; 5]) {
        let (router, doors) = (&self.router, &self.doors);
        let sockets = [&router.plain, &router.tls, &doors.tls, &doors.plain, &doors.rendezvous];
        let kept = places.iter().zip(sockets).map(|(place, socket)| place.kept(socket));
        let handed = match kept.collect::<io::Result<Vec<_>>>() {
            Ok(kept) => engine.keep(kept).await,
            Err(error) => Err(error),
        };
        if let Err(error) = handed {
            tracing::warn!(%error, "the listening sockets are not kept over a restart");
        }
    }
}

/// Requests for apps come in here, plainly and by TLS.
#[derive(Debug)]
pub(super) struct RouterDoors {
    pub(super) plain: TcpListener,
    pub(super) tls: TcpListener,
}

const ROUTER: &str = "router";
const ROUTER_TLS: &str = "router_tls";

/// The names by which the router's sockets are kept: the plain one, and that of TLS.
pub(super) fn router_places(config: &Config) -> [String; 2] {
    let plain = Place { name: ROUTER, address: config.listen.router };
    let tls = Place { name: ROUTER_TLS, address: config.listen.router_tls };
    [plain, tls].map(|place| place.label())
}

/// What the platform before has left and this one wants. Everything else is closed at once: its
/// address may be wanted under another name.
async fn take_over(engine: &NativeEngine, wanted: &[Place]) -> Vec<KeptSocket> {
    let is_wanted = |kept: &KeptSocket| wanted.iter().any(|place| place.label() == kept.name);
    let taken = async {
        let (ours, others): (Vec<_>, Vec<_>) = engine.kept()?.into_iter().partition(is_wanted);
        if !others.is_empty() {
            let copies = ours.iter().map(KeptSocket::try_clone).collect::<io::Result<_>>()?;
            engine.keep(copies).await?;
        }
        Ok::<_, io::Error>(ours)
    };
    taken.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the sockets of the platform before are not taken over");
        Vec::new()
    })
}

/// One of the sockets, as the configuration has it.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: &'static str,
    address: SocketAddr,
}

impl Place {
    /// A socket is another one when its address is configured otherwise; with port 0 it stays on
    /// the port that it was given first.
    fn label(&self) -> String {
        format!("{} {}", self.name, self.address)
    }

    fn adopt(&self, left: &KeptSocket) -> Result<TcpListener, UpError> {
        let adopted = left.socket.try_clone().and_then(|socket| {
            let listener = StdListener::from(socket);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        adopted.map_err(|source| self.failed(source))
    }

    fn bind(&self) -> Result<TcpListener, UpError> {
        let bound = || {
            let socket = match self.address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // Connections of a platform that has ended linger on its ports.
            socket.set_reuseaddr(true)?;
            socket.bind(self.address)?;
            socket.listen(BACKLOG)
        };
        bound().map_err(|source| self.failed(source))
    }

    fn bound(&self, listener: &TcpListener) -> Result<SocketAddr, UpError> {
        listener.local_addr().map_err(|source| self.failed(source))
    }

    fn kept(&self, listener: &TcpListener) -> io::Result<KeptSocket> {
        let socket = listener.as_fd().try_clone_to_owned()?;
        Ok(KeptSocket { name: self.label(), socket })
    }

    fn failed(&self, source: io::Error) -> UpError {
        UpError::Listen { name: self.name, address: self.address, source }
    }
}
