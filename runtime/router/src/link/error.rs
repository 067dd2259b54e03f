//! What ends a link; the router connects again.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the link's socket failed")]
    Socket(#[from] io::Error),
    #[error("a frame of {bytes} bytes; {max} is the most")]
    TooLarge { bytes: usize, max: usize },
    #[error("a frame of an unknown kind, {0}")]
    Kind(u8),
    #[error("a {what} that cannot be read")]
    Malformed { what: &'static str },
    #[error("a {what} that is not what it should be")]
    Parse {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the router speaks version {0} of the link")]
    Version(u32),
    #[error("the router's lines cannot be accounted for")]
    Account(#[source] io::Error),
}
