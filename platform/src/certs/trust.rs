//! Whether a certificate is what ordinary clients trust.

use super::Fields;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// By the authorities in the file `roots` (PEM), for the first of its names.
pub fn is_trusted(chain: &str, fields: &Fields, roots: &Path, now: Timestamp) -> bool {
    let certificates = CertificateDer::pem_slice_iter(chain.as_bytes()).flatten();
    let certificates: Vec<_> = certificates.collect();
    let Ok(authorities) = CertificateDer::pem_file_iter(roots) else { return false };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(authorities.flatten());
    let (Some((own, rest)), Some(name)) = (certificates.split_first(), fields.names.first()) else {
        return false;
    };
    let Ok(name) = ServerName::try_from(name.replace('*', "any")) else { return false };
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    verifier.is_ok_and(|verifier| verifier.verify_server_cert(own, rest, &name, &[], time).is_ok())
}
