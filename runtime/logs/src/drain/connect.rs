//! A connection to a drain's receiver: the address is checked at the moment it is connected to.

use super::{Policy, Target};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no connection within the time limit")]
    Timeout,
    #[error("cannot resolve {host}")]
    Resolve {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("{address} is {reason}")]
    Refused { address: IpAddr, reason: &'static str },
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("{host} is no name a certificate can be for")]
    Name {
        host: String,
        #[source]
        source: InvalidDnsNameError,
    },
    #[error("no TLS connection to {host}")]
    Tls {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the certificate authorities in {path}")]
    Roots {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("TLS cannot be set up")]
    Protocol(#[source] rustls::Error),
}

/// Opens connections for one drain.
#[derive(Debug)]
pub(super) struct Connector {
    policy: Arc<Policy>,
    /// Shared by all drains: the authorities are read once, when first needed.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
    /// One: a lookup may take far longer than anybody waits for it, and occupies a thread meanwhile.
    lookups: Arc<Semaphore>,
}

impl Connector {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self { policy, tls: Arc::default(), lookups: Arc::new(Semaphore::new(1)) }
    }

    /// The same for another drain.
    pub(super) fn another(&self) -> Self {
        let (policy, tls) = (Arc::clone(&self.policy), Arc::clone(&self.tls));
        Self { policy, tls, lookups: Arc::new(Semaphore::new(1)) }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Name, connection and TLS within `connect_timeout`.
    pub(super) async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, ConnectError> {
        let connect = async {
            let addresses = self.reachable(target).await?;
            let stream = dial(&addresses, &target.host).await?;
            if target.scheme.is_tls() {
                self.secure(stream, &target.host).await
            } else {
                Ok(Box::new(stream) as _)
            }
        };
        timeout(self.policy.connect_timeout, connect).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// The addresses that may be connected to. Just these are dialled: a name that resolves to
    /// something else a moment later gains nothing.
    async fn reachable(&self, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
        let addresses = self.lookup(target).await?;
        let mut refused = None;
        let reachable: Vec<_> = addresses
            .into_iter()
            .filter(|address| match self.policy.reach.refusal(address.ip()) {
                Some(reason) => {
                    refused = Some(ConnectError::Refused { address: address.ip(), reason });
                    false
                }
                None => true,
            })
            .take(ADDRESSES_MAX)
            .collect();
        match (reachable.is_empty(), refused) {
            (false, _) => Ok(reachable),
            (true, Some(refused)) => Err(refused),
            (true, None) => Err(ConnectError::NoAddress { host: target.host.clone() }),
        }
    }

    async fn lookup(&self, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
        let (host, port) = (target.host.clone(), target.port);
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        let lookup = move || {
            let _until_it_ends = permit;
            (&*host, port).to_socket_addrs().map(Iterator::collect)
        };
        spawn_blocking(lookup)
            .await
            .unwrap_or_else(|ended| Err(io::Error::other(ended)))
            .map_err(|source| ConnectError::Resolve { host: target.host.clone(), source })
    }

    async fn secure(&self, stream: TcpStream, host: &str) -> Result<Box<dyn Stream>, ConnectError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|source| ConnectError::Name { host: host.to_owned(), source })?;
        let stream = TlsConnector::from(self.tls()?)
            .connect(name, stream)
            .await
            .map_err(|source| ConnectError::Tls { host: host.to_owned(), source })?;
        Ok(Box::new(stream))
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, ConnectError> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(client_config(&self.policy.roots)?);
        Ok(Arc::clone(self.tls.get_or_init(|| config)))
    }
}

async fn dial(addresses: &[SocketAddr], host: &str) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::NoAddress { host: host.to_owned() };
    for &address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(source) => last = ConnectError::Connect { address, source },
        }
    }
    Err(last)
}

fn client_config(path: &Path) -> Result<ClientConfig, ConnectError> {
    let failed = |source| ConnectError::Roots { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        // A bundle may hold authorities this library does not understand; the others still count.
        roots.add_parsable_certificates([certificate.map_err(failed)?]);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Protocol)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl ConnectError {
    /// What the certificate lacks, when that is why there is no connection.
    pub(super) fn bad_certificate(&self) -> Option<String> {
        let Self::Tls { source, .. } = self else { return None };
        match source.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(why) => Some(format!("{why:?}")),
            _ => None,
        }
    }
}
