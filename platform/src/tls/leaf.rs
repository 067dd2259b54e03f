//! A certificate of our own authority with its key: made when it is missing, or comes to its end.

use super::authority::Authority;
use super::{TlsError, files};
use jiff::{SignedDuration, Timestamp};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long it is good for.
const VALID_DAYS: i64 = 90;
/// It is renewed when less than this is left.
const RENEW_DAYS: i64 = 30;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    pub(super) path: PathBuf,
    /// Every name and address by which clients reach whoever serves it.
    pub(super) names: Vec<String>,
}

/// As it is on disk, key first, and ready to sign.
pub(super) struct Issued {
    pub(super) pem: String,
    pub(super) key: CertifiedKey,
}

impl Leaf {
    /// The one on disk, or where that is no good any more a new one.
    pub(super) fn ensure(&self, authority: &Authority, now: Timestamp) -> Result<Issued, TlsError> {
        let kept = self.load().ok().filter(|kept| self.is_good(authority, &kept.key, now));
        kept.map_or_else(|| self.issue(authority, now), Ok)
    }

    /// Whether clients that trust the authority take it, under every name, today and a while on.
    pub(super) fn is_good(
        &self,
        authority: &Authority,
        key: &CertifiedKey,
        now: Timestamp,
    ) -> bool {
        let later = now + SignedDuration::from_hours(24 * RENEW_DAYS);
        [now, later].iter().all(|time| self.verify(authority, key, *time).is_ok())
    }

    /// Issues a certificate, sees that clients will take it, and puts it on disk.
    pub(super) fn issue(&self, authority: &Authority, now: Timestamp) -> Result<Issued, TlsError> {
        let lifetime = SignedDuration::from_hours(24 * VALID_DAYS);
        let pem = authority.issue(&self.names, now, lifetime)?;
        let key = parse(&pem, &self.path)?;
        self.verify(authority, &key, now)
            .map_err(|source| TlsError::Mismatch { path: authority.certificate_path(), source })?;
        files::write(&self.path, pem.as_bytes(), files::PRIVATE)?;
        Ok(Issued { pem, key })
    }

    fn load(&self) -> Result<Issued, TlsError> {
        let path = &self.path;
        let read = |source| TlsError::File { step: "read", path: path.clone(), source };
        let pem = std::fs::read_to_string(path).map_err(read)?;
        let key = parse(&pem, path)?;
        Ok(Issued { pem, key })
    }

    /// Does what a client does with the certificate.
    fn verify(
        &self,
        authority: &Authority,
        key: &CertifiedKey,
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
        for name in &self.names {
            let asked = name.replace('*', "any");
            let asked = ServerName::try_from(asked)
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            verifier.verify_server_cert(chain.0, chain.1, &asked, &[], time)?;
        }
        Ok(())
    }
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
