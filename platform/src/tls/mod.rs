//! TLS for clients: a local authority made once, and a server certificate that renews itself.

mod authority;
mod files;

pub use authority::AuthorityError;

use crate::config::Config;
use arc_swap::ArcSwap;
use authority::Authority;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, client::WebPkiServerVerifier};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a server certificate is good for.
const VALID_DAYS: i64 = 90;
/// It is renewed when less than this is left.
const RENEW_DAYS: i64 = 30;
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
    /// Every name and address by which clients reach the platform.
    names: Vec<String>,
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
        let names = names(config);
        let authority = Authority::open(&dir, now)?;
        let kept = load(&dir).ok().filter(|kept| is_good(&authority, kept, &names, now));
        let current = match kept {
            Some(kept) => kept,
            None => issue(&dir, &authority, &names, now)?,
        };
        files::write_bundle(&dir, config.build.ca_bundle.as_deref())?;
        let current = Arc::new(Current(ArcSwap::from_pointee(current)));
        Ok(Self { dir, names, current })
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
        if !is_good(&authority, &self.current.0.load(), &self.names, now) {
            let renewed = issue(&self.dir, &authority, &self.names, now)?;
            self.current.0.store(Arc::new(renewed));
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

/// What goes into the certificate. A wildcard needs two labels below it: clients refuse `*.com`
/// and with it `*.localhost`.
fn names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.push(config.api_host.clone());
    names.push(config.apps_domain.clone());
    if config.apps_domain.contains('.') && config.apps_domain.parse::<std::net::IpAddr>().is_err() {
        names.push(format!("*.{}", config.apps_domain));
    }
    names.sort();
    names.dedup();
    names
}

fn server_pem(dir: &Path) -> PathBuf {
    dir.join("server.pem")
}

/// Issues a certificate, sees that clients will take it, and puts it on disk.
fn issue(
    dir: &Path,
    authority: &Authority,
    names: &[String],
    now: Timestamp,
) -> Result<CertifiedKey, TlsError> {
    let pem = authority.issue(names, now, SignedDuration::from_hours(24 * VALID_DAYS))?;
    let path = server_pem(dir);
    let issued = parse(&pem, &path)?;
    verify(authority, &issued, names, now)
        .map_err(|source| TlsError::Mismatch { path: authority.certificate_path(), source })?;
    files::write(&path, pem.as_bytes(), files::PRIVATE)?;
    Ok(issued)
}

fn load(dir: &Path) -> Result<CertifiedKey, TlsError> {
    let path = server_pem(dir);
    let pem = std::fs::read_to_string(&path).map_err(|source| TlsError::File {
        step: "read",
        path: path.clone(),
        source,
    })?;
    parse(&pem, &path)
}

fn parse(pem: &str, path: &Path) -> Result<CertifiedKey, TlsError> {
    let unusable = || TlsError::Unusable { path: path.to_path_buf() };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| unusable())?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| unusable())?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|_| unusable())
}

/// Whether clients that trust the authority take it, under every name, today and a while on.
fn is_good(authority: &Authority, key: &CertifiedKey, names: &[String], now: Timestamp) -> bool {
    let later = now + SignedDuration::from_hours(24 * RENEW_DAYS);
    [now, later].iter().all(|time| verify(authority, key, names, *time).is_ok())
}

/// Does what a client does with the certificate.
fn verify(
    authority: &Authority,
    key: &CertifiedKey,
    names: &[String],
    now: Timestamp,
) -> Result<(), rustls::Error> {
    use rustls::client::danger::ServerCertVerifier;
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let chain = key.cert.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    for name in names {
        let asked = name.replace('*', "any");
        let asked = ServerName::try_from(asked)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(chain.0, chain.1, &asked, &[], time)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
