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
}

/// The last table on disk could not be used; a router runs without it.
#[derive(Debug, thiserror::Error)]
pub enum SavedTableError {
    #[error("cannot read the saved route table {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the saved route table {path} is damaged")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot write the saved route table {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot encode the route table")]
    Encode {
        #[source]
        source: serde_json::Error,
    },
}
