//! A platform as a remote of the git of this machine, with nothing of a user's own configuration.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::process::Command;

/// Why git did not do it.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot run git")]
    Run(#[source] io::Error),
    #[error("git {verb} ended with {status}")]
    Git { verb: String, status: ExitStatus },
}

/// An app's repository on a platform of this machine.
#[derive(Debug)]
pub(super) struct Remote {
    home: PathBuf,
    bundle: PathBuf,
    url: String,
}

impl Remote {
    /// `home` will hold what git needs to know; `bundle` the authority to trust.
    pub(super) fn make(
        home: &Path,
        app: &str,
        port: u16,
        token: &str,
        bundle: &Path,
    ) -> Result<Self, RemoteError> {
        let failed = |source| RemoteError::Write { path: home.to_owned(), source };
        fs::create_dir_all(home).map_err(failed)?;
        // As `heroku login` does it; on a command line everybody could read the token.
        let netrc = format!("machine localhost login _ password {token}\n");
        write(&home.join(".netrc"), &netrc)?;
        let url = format!("https://localhost:{port}/{app}.git");
        Ok(Self { home: home.to_owned(), bundle: bundle.to_owned(), url })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Runs git in `tree`; what it says goes to `said`.
    pub(super) async fn git(
        &self,
        tree: &Path,
        arguments: &[&str],
        said: Stdio,
    ) -> Result<(), RemoteError> {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(tree)
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSL_CAINFO", &self.bundle)
            .stdin(Stdio::null())
            .stderr(said)
            .kill_on_drop(true);
        let status = command.status().await.map_err(RemoteError::Run)?;
        let is_verb = |argument: &&&str| !argument.starts_with('-') && !argument.contains('=');
        let verb = arguments.iter().find(is_verb).map_or("", |verb| verb);
        if status.success() {
            Ok(())
        } else {
            Err(RemoteError::Git { verb: verb.to_owned(), status })
        }
    }
}

/// A file that only its owner reads.
pub(super) fn write(path: &Path, text: &str) -> Result<(), RemoteError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let write = |mut file: fs::File| io::Write::write_all(&mut file, text.as_bytes());
    options
        .open(path)
        .and_then(write)
        .map_err(|source| RemoteError::Write { path: path.to_path_buf(), source })
}
