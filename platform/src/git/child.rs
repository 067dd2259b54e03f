//! Git as a child process of a request: its own process group, never left behind.

use super::pushes::Underway;
use crate::plumbing;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Kept of what git writes to stderr, for our own log.
const STDERR_BYTES_MAX: u64 = 4096;

/// A `git` command on the repository `dir`, not yet started. `args` come from us alone.
pub(super) fn command(dir: &Path, settings: &[(&str, String)], args: &[&str]) -> Command {
    let mut command = Command::from(plumbing::git(dir));
    for (key, value) in settings {
        command.arg("-c").arg(format!("{key}={value}"));
    }
    command.args(args).arg(dir);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// How long git may take to remove its lock files when it is told to end.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// A running git. Dropping it ends it and everything it started.
#[derive(Debug)]
pub(super) struct Git {
    /// None once it is being ended.
    child: Option<Child>,
    /// The push that it does, which is under way for as long as git runs.
    push: Option<Underway>,
}

impl Git {
    pub(super) fn spawn(command: &mut Command) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        Self::spawn_for(None, command)
    }

    pub(super) fn spawn_for(
        push: Option<Underway>,
        command: &mut Command,
    ) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let mut child = command.spawn()?;
        let gone = || io::Error::other("no pipe");
        let stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(report(stderr));
        }
        Ok((Self { child: Some(child), push }, stdin, stdout))
    }

    /// For what reads a push; to be called before it is given any of it.
    pub(super) fn bound_memory(&self, bytes: u64) -> io::Result<()> {
        let pid = self.child.as_ref().and_then(Child::id);
        plumbing::bound_memory(pid.ok_or_else(|| io::Error::other("ended"))?, bytes)
    }

    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        ended(self.child.as_mut().ok_or_else(|| io::Error::other("ended"))?).await
    }

    pub(super) fn push(&self) -> Option<&Underway> {
        self.push.as_ref()
    }

    /// To be called once git has been waited for.
    pub(super) fn take_push(&mut self) -> Option<Underway> {
        self.push.take()
    }
}

impl Drop for Git {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        let push = self.push.take();
        if let Some(underway) = &push {
            underway.push.cancel.cancel();
        }
        signal(&child, Signal::SIGTERM);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(end(child, push));
        }
    }
}

async fn end(mut child: Child, push: Option<Underway>) {
    if timeout(END_TIMEOUT, ended(&mut child)).await.is_err() {
        signal(&child, Signal::SIGKILL);
        if let Err(error) = ended(&mut child).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "git was not seen to end");
        }
    }
    if let Some(underway) = push {
        underway.sweep().await;
    }
}

/// Waits for git. One that does not end well may leave behind what it has started, which would go on
/// writing where others sweep: that is told to end, too.
async fn ended(child: &mut Child) -> io::Result<ExitStatus> {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let seen = move || waitid(Id::Pid(Pid::from_raw(id)), look);
        let seen = tokio::task::spawn_blocking(seen).await.map_err(io::Error::other)?;
        if seen.is_ok_and(|seen| !matches!(seen, WaitStatus::Exited(_, 0))) {
            signal(child, Signal::SIGTERM);
        }
    }
    child.wait().await
}

/// To git and all it started. Its group has this number for as long as git was not waited for; after
/// that the number may be anybody's.
fn signal(child: &Child, signal: Signal) {
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = group {
        // It may have ended this very moment.
        killpg(Pid::from_raw(group), signal).ok();
    }
}

/// Puts what git complains about into our own log. All is read, so that git never waits for us.
async fn report(stderr: ChildStderr) {
    let mut text = Vec::new();
    let mut kept = stderr.take(STDERR_BYTES_MAX);
    kept.read_to_end(&mut text).await.ok();
    if !text.is_empty() {
        tracing::info!(git.stderr = %text.escape_ascii(), "git said something");
    }
    tokio::io::copy(&mut kept.into_inner(), &mut tokio::io::sink()).await.ok();
}
