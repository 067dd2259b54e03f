//! Secrets at rest: XChaCha20-Poly1305 under a key that lives outside the database.

use super::StateError;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file of the key in a data directory.
pub const KEY: &str = "state.key";

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

pub struct Secrets {
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// With the key of this data directory.
    pub fn of(data: &Path) -> Result<Self, StateError> {
        Self::open(&data.join(KEY))
    }

    /// Reads the key file, or makes one (mode 0600, synced) when there is none.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let error = |source| StateError::Key { path: path.to_owned(), source };
        let key = match std::fs::read(path) {
            Ok(key) => key,
            Err(missing) if missing.kind() == ErrorKind::NotFound => {
                let mut key = vec![0; KEY_BYTES];
                fill(&mut key);
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(error)?;
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(error)?;
                key
            }
            Err(other) => return Err(error(other)),
        };
        let cipher = XChaCha20Poly1305::new_from_slice(&key)
            .map_err(|_| error(ErrorKind::InvalidData.into()))?;
        Ok(Self { cipher })
    }

    /// Encrypts for one place: `context` (an app id, say) must be given again to decrypt, so a
    /// value copied into another app's row does not open. Result: nonce, then ciphertext.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        fill(&mut nonce);
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        #[expect(clippy::expect_used, reason = "fails only above 256 GiB of plaintext")]
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("small plaintext");
        [nonce.as_slice(), &sealed].concat()
    }

    pub fn open_sealed(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, StateError> {
        let (nonce, ciphertext) =
            sealed.split_first_chunk::<NONCE_BYTES>().ok_or(StateError::Decrypt)?;
        let payload = Payload { msg: ciphertext, aad: context.as_bytes() };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| StateError::Decrypt)
    }
}

/// A new random token: `prefix` and 32 random bytes in hexadecimal.
pub fn random_token(prefix: &str) -> String {
    let mut bytes = [0; 32];
    fill(&mut bytes);
    bytes.iter().fold(prefix.to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn fill(bytes: &mut [u8]) {
    #[expect(clippy::expect_used, reason = "a system without randomness cannot make a key at all")]
    getrandom::fill(bytes).expect("the kernel gives random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_in_its_own_context_and_with_its_own_key() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(&dir.path().join("a")).unwrap();
        let sealed = secrets.seal("app-1", b"postgres://secret");
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(secrets.open_sealed("app-1", &sealed).unwrap(), b"postgres://secret");
        assert!(secrets.open_sealed("app-2", &sealed).is_err());
        assert!(secrets.open_sealed("app-1", b"short").is_err());
        let other = Secrets::open(&dir.path().join("b")).unwrap();
        assert!(other.open_sealed("app-1", &sealed).is_err());
        let again = Secrets::open(&dir.path().join("a")).unwrap();
        assert_eq!(again.open_sealed("app-1", &sealed).unwrap(), b"postgres://secret");
    }
}
