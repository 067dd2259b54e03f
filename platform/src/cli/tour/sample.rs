//! The bundled sample app, and its push by the git of this machine.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::process::Command;

const FILES: [(&str, &str); 2] =
    [("Procfile", include_str!("sample/Procfile")), ("web.py", include_str!("sample/web.py"))];

/// Why the sample was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
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

/// A repository of the sample, with what git needs to push it.
#[derive(Debug)]
pub(in crate::cli) struct Sample {
    tree: PathBuf,
    home: PathBuf,
    bundle: PathBuf,
    url: String,
}

impl Sample {
    /// Makes the repository in `room`, with one commit.
    pub(in crate::cli) async fn make(
        room: &Path,
        app: &str,
        port: u16,
        token: &str,
        bundle: &Path,
    ) -> Result<Self, SampleError> {
        let sample = Self {
            tree: room.join("sample"),
            home: room.join("home"),
            bundle: bundle.to_owned(),
            url: format!("https://localhost:{port}/{app}.git"),
        };
        for dir in [&sample.home, &sample.tree] {
            fs::create_dir_all(dir)
                .map_err(|source| SampleError::Write { path: dir.clone(), source })?;
        }
        // As `heroku login` does it; on a command line everybody could read the token.
        let netrc = format!("machine localhost login _ password {token}\n");
        write(&sample.home.join(".netrc"), &netrc)?;
        sample.git(&["init", "--quiet", "--initial-branch=main"], Stdio::inherit()).await?;
        for (name, text) in FILES {
            write(&sample.tree.join(name), text)?;
        }
        sample.commit().await?;
        Ok(sample)
    }

    /// Changes a file and commits that.
    pub(in crate::cli) async fn change(&self, file: &str, text: &str) -> Result<(), SampleError> {
        write(&self.tree.join(file), text)?;
        self.commit().await
    }

    /// Pushes; what git says goes to `said`.
    pub(in crate::cli) async fn push(&self, said: Stdio) -> Result<(), SampleError> {
        self.git(&["push", &self.url, "main"], said).await
    }

    async fn commit(&self) -> Result<(), SampleError> {
        self.git(&["add", "--all"], Stdio::inherit()).await?;
        let identity = ["-c", "user.name=Lathe", "-c", "user.email=demo@lathe.invalid"];
        let commit = [&identity[..], &["commit", "--quiet", "--message", "Hello"]].concat();
        self.git(&commit, Stdio::inherit()).await
    }

    async fn git(&self, arguments: &[&str], said: Stdio) -> Result<(), SampleError> {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(&self.tree)
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSL_CAINFO", &self.bundle)
            .stdin(Stdio::null())
            .stderr(said)
            .kill_on_drop(true);
        let status = command.status().await.map_err(SampleError::Run)?;
        let is_verb = |argument: &&&str| !argument.starts_with('-') && !argument.contains('=');
        let verb = arguments.iter().find(is_verb).map_or("", |verb| verb);
        if status.success() {
            Ok(())
        } else {
            Err(SampleError::Git { verb: verb.to_owned(), status })
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), SampleError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let write = |mut file: fs::File| io::Write::write_all(&mut file, text.as_bytes());
    options
        .open(path)
        .and_then(write)
        .map_err(|source| SampleError::Write { path: path.to_path_buf(), source })
}
