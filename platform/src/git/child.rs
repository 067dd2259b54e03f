//! Git as a child process: nothing of our environment, its own process group, never left behind.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Kept of what git writes to stderr, for our own log.
const STDERR_BYTES_MAX: u64 = 4096;

/// Settings for every call, given on the command line: they hold for repositories made by older
/// versions too, and nothing in a repository can change them.
const SETTINGS: &[(&str, &str)] = &[
    // With git's defaults an acknowledged push is lost at a power cut; see also `durable.rs`.
    ("core.fsync", "all"),
    // A large file is streamed, not held in memory.
    ("core.bigFileThreshold", "8m"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("receive.fsckObjects", "true"),
    ("receive.keepAlive", "5"),
    ("receive.autogc", "false"),
    ("receive.advertisePushOptions", "false"),
    // Heroku takes `--force`; the deploy branch itself cannot be deleted, see `policy.rs`.
    ("receive.denyNonFastForwards", "false"),
    // One pack a push instead of loose objects: a handful of files to make durable.
    ("receive.unpackLimit", "1"),
    ("receive.updateServerInfo", "false"),
    ("uploadpack.keepAlive", "5"),
    ("pack.threads", "1"),
    ("pack.windowMemory", "64m"),
    ("safe.directory", "*"),
];

/// A `git` command on the repository `dir`, not yet started. `args` come from us alone.
pub(super) fn command(dir: &Path, settings: &[(&str, String)], args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_TERMINAL_PROMPT", "0");
    for (key, value) in SETTINGS {
        command.arg("-c").arg(format!("{key}={value}"));
    }
    for (key, value) in settings {
        command.arg("-c").arg(format!("{key}={value}"));
    }
    command.args(args).arg(dir).current_dir(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// A running git. Dropping it ends it and everything it started.
#[derive(Debug)]
pub(super) struct Git {
    child: Child,
}

impl Git {
    pub(super) fn spawn(command: &mut Command) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let mut child = command.spawn()?;
        let gone = || io::Error::other("no pipe");
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(async move {
                let mut text = Vec::new();
                let mut kept = stderr.take(STDERR_BYTES_MAX);
                drop(kept.read_to_end(&mut text).await);
                if !text.is_empty() {
                    tracing::info!(git.stderr = %text.escape_ascii(), "git said something");
                }
                drop(tokio::io::copy(&mut kept.into_inner(), &mut tokio::io::sink()).await);
            });
        }
        Ok((Self { child }, stdin, stdout))
    }

    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// The process group, while git has not been waited for.
    pub(super) fn group(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }
}

impl Drop for Git {
    fn drop(&mut self) {
        // Only while its leader is not reaped: until then nobody else can have this number.
        if let Some(group) = self.group() {
            // It may have ended this very moment.
            killpg(group, Signal::SIGKILL).ok();
        }
    }
}
