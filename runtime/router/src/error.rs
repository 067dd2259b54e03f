//! What can stop a router.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    #[error("cannot accept connections")]
    Accept {
        #[source]
        source: io::Error,
    },
    #[error("cannot set up TLS")]
    Tls {
        #[source]
        source: rustls::Error,
    },
}

/// What was saved for a router could not be used or not be written; it runs without.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    #[error("cannot read the saved file {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the saved file {path} is damaged")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot write the saved file {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot encode what is to be saved in {path}")]
    Encode {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}
