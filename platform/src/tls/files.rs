//! How certificates and keys come to disk: whole or not at all, keys for their user only.

use super::TlsError;
use std::fs;
use std::path::Path;

pub(super) const PRIVATE: u32 = 0o600;
pub(super) const PUBLIC: u32 = 0o644;

/// Where Debian keeps the certificates that programs trust.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Replaces the file at once and durably.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    lathe_slug::fs::atomic_write(path, bytes, mode).map_err(|source| TlsError::File {
        step: "write",
        path: path.to_path_buf(),
        source,
    })
}

/// Writes `bundle.pem`: our authority and all that the host trusts. Clients are pointed at it
/// rather than at our certificate alone, because git trusts only what it is pointed at, and must
/// still reach every other server.
pub(super) fn write_bundle(dir: &Path, trusted: Option<&Path>) -> Result<(), TlsError> {
    let own = dir.join("ca.pem");
    let mut bundle = read(&own)?;
    let system = trusted.unwrap_or(Path::new(SYSTEM_BUNDLE));
    if system.exists() {
        bundle.extend(read(system)?);
    }
    write(&dir.join("bundle.pem"), &bundle, PUBLIC)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File {
        step: "read",
        path: path.to_path_buf(),
        source,
    })
}
