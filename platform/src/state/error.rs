//! Why an operation on the state did not happen.

use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("the state file {path} could not be opened")]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error(
        "the state file {path} is damaged ({detail}); restore a backup, the file was left as it is"
    )]
    Damaged { path: PathBuf, detail: String },
    #[error(
        "the state file {path} has schema {found}, this program knows up to {known}; use the newer program"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "the state file {path} has schema {found}, this program would make it {known}; use the program that runs"
    )]
    Older { path: PathBuf, found: i64, known: i64 },
    #[error("a copy of the state could not be written to {path}")]
    Copy {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the key file {path} could not be used")]
    Key {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("a stored secret could not be decrypted: the key file does not belong to this state")]
    Decrypt,
    #[error("the data directory {path} is in use by process {pid}")]
    Locked { path: PathBuf, pid: String },
    #[error("the state thread could not be started")]
    Thread(#[source] std::io::Error),
    #[error("the state is closed")]
    Closed,
    /// Acknowledged is only what is on disk; this may be there or not.
    #[error("the disk failed while the state was written; whether it was is not known")]
    Unknown(#[source] Arc<rusqlite::Error>),
    #[error("nothing of it was written")]
    NotWritten(#[source] Arc<rusqlite::Error>),
    #[error("nothing is written to the state file {path} until it could be checked")]
    InDoubt {
        path: PathBuf,
        #[source]
        source: Arc<StateError>,
    },
    #[error("the log of the state is being read by another program")]
    Busy,
    #[error("database")]
    Database(#[from] rusqlite::Error),
    #[error("a stored value could not be read")]
    Decode(#[from] serde_json::Error),
    /// The thing the caller named does not exist, or is not theirs to see.
    #[error("couldn't find that {0}")]
    NotFound(&'static str),
    /// The request contradicts the state; the text is for the user.
    #[error("{0}")]
    Refused(String),
}

impl StateError {
    /// Whether the same may succeed when the disk works again.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::InDoubt { .. })
    }

    /// A row that is not there is an answer, not a failure of the database.
    pub fn missing(what: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |error| match error {
            rusqlite::Error::QueryReturnedNoRows => Self::NotFound(what),
            other => Self::Database(other),
        }
    }
}
