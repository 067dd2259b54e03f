//! Where clients come in: plainly, or by TLS; and what the router is told while it serves them.

use crate::{Keyring, RouterConfig, Routes};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The listening sockets of a router.
#[derive(Debug)]
pub struct Doors {
    pub plain: TcpListener,
    pub tls: Option<TcpListener>,
}

/// What a router is told while it runs: each time everything there is to know.
#[derive(Debug)]
pub struct Feed {
    /// Only a table of a higher generation applies.
    pub routes: watch::Receiver<Arc<Routes>>,
    /// One without a default certificate is none.
    pub keyring: watch::Receiver<Arc<Keyring>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    Plain,
    Tls,
}

impl Doors {
    /// The next client at either. Safe to cancel.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Door)> {
        let by_tls = async {
            match &self.tls {
                Some(tls) => tls.accept().await,
                None => std::future::pending().await,
            }
        };
        let (accepted, door) = tokio::select! {
            accepted = self.plain.accept() => (accepted, Door::Plain),
            accepted = by_tls => (accepted, Door::Tls),
        };
        accepted.map(|(stream, client)| (stream, client, door))
    }
}

/// By which door a client has come in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entrance {
    Plain,
    /// With the version of TLS as log lines have it.
    Tls(&'static str),
}

impl Entrance {
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Plain => "http",
            Self::Tls(_) => "https",
        }
    }

    pub(crate) fn port(self, config: &RouterConfig) -> u16 {
        match self {
            Self::Plain => config.public_port,
            Self::Tls(_) => config.public_tls_port,
        }
    }
}
