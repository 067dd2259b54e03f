//! How the last-good record is kept from eyes that get hold of the disk: by somebody else's key.

use std::fmt;

/// The cell knows neither key nor cipher; whoever starts it does.
pub trait Seal: fmt::Debug + Send + Sync {
    fn seal(&self, plain: &[u8]) -> Vec<u8>;

    /// None when it was not sealed by this.
    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>>;
}

/// For whoever keeps no secrets in a dyno's environment: the record is as it is.
#[derive(Clone, Copy, Debug)]
pub struct Unsealed;

impl Seal for Unsealed {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
    }

    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        Some(sealed.to_vec())
    }
}
