//! Why there is no backup, or no platform made of one.

use crate::state::StateError;
use lathe_slug::SlugId;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("there is no platform in {}", data.display())]
    Nothing { data: PathBuf },
    #[error("the state could not be copied")]
    State(#[from] StateError),
    #[error("cannot {step} {}", path.display())]
    File {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot {step} the repository {}", path.display())]
    Repository {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: git2::Error,
    },
    #[error("git cannot {step} the repository {}: {said}", path.display())]
    Git { step: &'static str, path: PathBuf, said: String },
    #[error("slug {slug} is not in the store, and a release names it")]
    Lost { slug: SlugId },
    #[error("{} is not empty: there is {found}", data.display())]
    NotEmpty { data: PathBuf, found: String },
    #[error("{} is not a backup", path.display())]
    NotBackup { path: PathBuf },
    #[error("the backup is of format {found}, this program reads {known}")]
    Format { found: u32, known: u32 },
    #[error("the backup's state has schema {found}, this program knows up to {known}")]
    Newer { found: i64, known: i64 },
    #[error("the backup is damaged at its entry {entry}: {what}")]
    Damaged { entry: String, what: String },
}

impl BackupError {
    /// Whether it may come of something that went away meanwhile.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Repository { .. } | Self::Git { .. })
    }

    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Nothing { .. } => "Name the platform's directory: --data DIR.",
            Self::State(StateError::Locked { .. }) => "End that platform first: `lathe stop`.",
            Self::State(_) => "`lathe rescue` says what the state is like.",
            Self::File { .. } => {
                "Check the path, the free space, and that you are the platform's user."
            }
            Self::Repository { .. } | Self::Git { .. } => {
                "Check the free space, and that you are the platform's user; `git fsck` there says \
                 whether the repository is damaged."
            }
            Self::Lost { .. } => "Try again when nothing is being destroyed.",
            Self::NotEmpty { .. } => {
                "Restore into a new directory (--data DIR), or replace what is there with \
                 `lathe rescue restore FILE`."
            }
            Self::Format { .. } | Self::Newer { .. } => "Use the newer program that made it.",
            Self::NotBackup { .. } => "Name a file that `lathe backup` made.",
            Self::Damaged { .. } => {
                "Use another backup. Nothing of this one was put in place; as a tar file it may \
                 still be read by hand."
            }
        }
        .into()
    }
}

/// An operation on a file, named.
pub(super) fn file(
    step: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::File { step, path, source }
}
