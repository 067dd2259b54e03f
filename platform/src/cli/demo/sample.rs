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

/// Makes a repository of the sample in `room` and pushes it; what git says goes to the terminal.
pub(super) async fn push(
    room: &Path,
    app: &str,
    port: u16,
    token: &str,
    bundle: &Path,
) -> Result<(), SampleError> {
    let home = room.join("home");
    let tree = room.join("sample");
    for dir in [&home, &tree] {
        fs::create_dir_all(dir)
            .map_err(|source| SampleError::Write { path: dir.clone(), source })?;
    }
    for (name, text) in FILES {
        write(&tree.join(name), text)?;
    }
    // As `heroku login` does it; on a command line everybody could read the token.
    write(&home.join(".netrc"), &format!("machine localhost login _ password {token}\n"))?;

    let url = format!("https://localhost:{port}/{app}.git");
    let identity = ["-c", "user.name=Lathe", "-c", "user.email=demo@lathe.invalid"];
    let git = |arguments: Vec<&str>| {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(&tree)
            .env("HOME", &home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSL_CAINFO", bundle)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    };
    run("init", git(vec!["init", "--quiet", "--initial-branch=main"])).await?;
    run("add", git(vec!["add", "--all"])).await?;
    let commit = [&identity[..], &["commit", "--quiet", "--message", "Hello"]].concat();
    run("commit", git(commit)).await?;
    run("push", git(vec!["push", &url, "main"])).await
}

async fn run(verb: &str, mut command: Command) -> Result<(), SampleError> {
    let status = command.status().await.map_err(SampleError::Run)?;
    if status.success() { Ok(()) } else { Err(SampleError::Git { verb: verb.to_owned(), status }) }
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
