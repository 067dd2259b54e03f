//! The certificate with which apps are served that have none of their own.

use super::TlsError;
use super::authority::Authority;
use super::leaf::{Issued, Leaf};
use crate::config::Config;
use jiff::Timestamp;
use std::net::IpAddr;
use std::path::PathBuf;

/// Names that one certificate can hold; each handshake carries them all.
const NAMES_MAX: usize = 200;

#[derive(Debug)]
pub struct AppsTls {
    dir: PathBuf,
    domain: String,
}

impl AppsTls {
    pub fn of(config: &Config) -> Self {
        Self { dir: config.tls_dir(), domain: config.apps_domain.clone() }
    }

    /// What the certificate has to name. `own`: the apps' own names; the first few where there can be
    /// no wildcard, and clients refuse it for the rest.
    pub fn names(&self, own: &[String]) -> Vec<String> {
        let mut names = vec![self.domain.clone()];
        match wildcard(&self.domain) {
            Some(wildcard) => names.push(wildcard),
            None => names.extend(own.iter().take(NAMES_MAX).cloned()),
        }
        names
    }

    /// Chain and key, both PEM: the one there is, or a new one when that comes to its end or does not
    /// have these names.
    pub fn pair(&self, names: Vec<String>, now: Timestamp) -> Result<(String, String), TlsError> {
        let leaf = Leaf { path: self.dir.join("apps.pem"), names };
        let Issued { pem, .. } = leaf.ensure(&Authority::open(&self.dir, now)?, now)?;
        let chain_at = pem.find("-----BEGIN CERTIFICATE").unwrap_or(0);
        let (key, chain) = pem.split_at(chain_at);
        Ok((chain.to_owned(), key.to_owned()))
    }
}

/// The name of everything below a domain. It needs two labels: clients refuse `*.com` and with it
/// `*.localhost`.
pub(super) fn wildcard(domain: &str) -> Option<String> {
    let has_one = domain.contains('.') && domain.parse::<IpAddr>().is_err();
    has_one.then(|| format!("*.{domain}"))
}
