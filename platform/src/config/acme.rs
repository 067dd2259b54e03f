//! Which certificate authority gives apps their certificates, and whether it may be asked.

use std::path::PathBuf;

/// An authority that speaks ACME (RFC 8555).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acme {
    /// Who is told of certificates in trouble, and so has agreed to the authority's terms. None: it
    /// is never asked.
    pub email: Option<String>,
    pub directory: String,
    /// Whom we believe to be the authority, in PEM.
    pub authorities: PathBuf,
}

impl Default for Acme {
    /// Let's Encrypt, once there is an address.
    fn default() -> Self {
        Self {
            email: None,
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
        }
    }
}
