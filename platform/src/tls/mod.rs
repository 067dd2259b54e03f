//! TLS for clients: a local authority made once, and a server certificate that renews itself.

mod apps;
mod authority;
mod files;
mod leaf;

pub use apps::AppsTls;
pub use authority::AuthorityError;

use crate::config::Config;
use arc_swap::ArcSwap;
use authority::Authority;
use jiff::Timestamp;
use leaf::{Issued, Leaf};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often a running platform looks whether it is time.
const LOOK_EVERY: Duration = Duration::from_hours(6);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("cannot {step} {}", path.display())]
    File {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} does not hold a certificate with its key", path.display())]
    Unusable { path: PathBuf },
    #[error("the new server certificate does not verify against {}", path.display())]
    Mismatch {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
}

impl TlsError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Authority(error) => error.remedy(),
            Self::File { .. } => {
                "Check the disk and that the platform's user may write there.".into()
            }
            Self::Unusable { path } => {
                format!("Remove {} and start again; it is made anew.", path.display())
            }
            Self::Mismatch { path, .. } => format!(
                "{} and the key beside it do not belong together: restore both from a backup. \
                 If there is none, remove both, start again, and hand out the new certificate.",
                path.display()
            ),
            Self::Setup(_) => "This is a fault of the program; please report it.".into(),
        }
    }
}

/// The server's certificate as listeners use it; renewed below them while they run.
#[derive(Debug)]
pub struct ServerTls {
    dir: PathBuf,
    leaf: Leaf,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    /// The same for every name asked for: a client with an unknown name then says which name it
    /// expected, where an aborted handshake would say nothing.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ServerTls {
    /// Loads the authority and the server certificate, making what is missing or about to end.
    pub fn open(config: &Config, now: Timestamp) -> Result<Self, TlsError> {
        let dir = config.tls_dir();
        let leaf = Leaf { path: dir.join("server.pem"), names: names(config) };
        let authority = Authority::open(&dir, now)?;
        let Issued { key, .. } = leaf.ensure(&authority, now)?;
        files::write_bundle(&dir, config.build.ca_bundle.as_deref())?;
        let current = Arc::new(Current(ArcSwap::from_pointee(key)));
        Ok(Self { dir, leaf, current })
    }

    /// TLS 1.2 and 1.3, HTTP/1.1, no client certificates.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Issues a new certificate if the current one ends soon. Connections keep the one they have.
    pub fn renew(&self, now: Timestamp) -> Result<(), TlsError> {
        let authority = Authority::open(&self.dir, now)?;
        if !self.leaf.is_good(&authority, &self.current.0.load(), now) {
            let Issued { key, .. } = self.leaf.issue(&authority, now)?;
            self.current.0.store(Arc::new(key));
            tracing::info!("the server certificate is renewed");
        }
        Ok(())
    }

    /// Keeps the certificate from ending, for ever; a failure leaves the old one in use.
    pub async fn keep_renewed(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.renew(Timestamp::now()) {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the server certificate cannot be renewed; the old one stays"
                );
            }
        }
    }
}

/// What goes into the certificate: every name and address by which clients reach the platform.
fn names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.push(config.api_host.clone());
    names.push(config.apps_domain.clone());
    names.extend(apps::wildcard(&config.apps_domain));
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
