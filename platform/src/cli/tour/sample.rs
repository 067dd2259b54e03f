//! The bundled sample app, and its push by the git of this machine.

use crate::cli::remote::{Remote, RemoteError, write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const FILES: [(&str, &str); 2] =
    [("Procfile", include_str!("sample/Procfile")), ("web.py", include_str!("sample/web.py"))];

/// A repository of the sample, with what git needs to push it.
#[derive(Debug)]
pub(in crate::cli) struct Sample {
    tree: PathBuf,
    remote: Remote,
}

impl Sample {
    /// Makes the repository in `room`, with one commit.
    pub(in crate::cli) async fn make(
        room: &Path,
        app: &str,
        port: u16,
        token: &str,
        bundle: &Path,
    ) -> Result<Self, RemoteError> {
        let remote = Remote::make(&room.join("home"), app, port, token, bundle)?;
        let sample = Self { tree: room.join("sample"), remote };
        std::fs::create_dir_all(&sample.tree)
            .map_err(|source| RemoteError::Write { path: sample.tree.clone(), source })?;
        sample.git(&["init", "--quiet", "--initial-branch=main"], Stdio::inherit()).await?;
        for (name, text) in FILES {
            write(&sample.tree.join(name), text)?;
        }
        sample.commit().await?;
        Ok(sample)
    }

    /// Changes a file and commits that.
    pub(in crate::cli) async fn change(&self, file: &str, text: &str) -> Result<(), RemoteError> {
        write(&self.tree.join(file), text)?;
        self.commit().await
    }

    /// Pushes; what git says goes to `said`.
    pub(in crate::cli) async fn push(&self, said: Stdio) -> Result<(), RemoteError> {
        self.git(&["push", self.remote.url(), "main"], said).await
    }

    async fn commit(&self) -> Result<(), RemoteError> {
        self.git(&["add", "--all"], Stdio::inherit()).await?;
        let identity = ["-c", "user.name=Lathe", "-c", "user.email=demo@lathe.invalid"];
        let commit = [&identity[..], &["commit", "--quiet", "--message", "Hello"]].concat();
        self.git(&commit, Stdio::inherit()).await
    }

    async fn git(&self, arguments: &[&str], said: Stdio) -> Result<(), RemoteError> {
        self.remote.git(&self.tree, arguments, said).await
    }
}
