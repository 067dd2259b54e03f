//! Where hooks ask: a socket that only our own user can reach, and the answers.

use super::policy::is_deploy_branch;
use super::pushes::{Push, Pushes};
use super::refusal;
use super::wire::{
    CALL_BYTES_MAX, Call, EXIT, FRAME_BYTES_MAX, NAMES, PRE_RECEIVE, REFERENCE_TRANSACTION, TEXT,
    frame,
};
use super::{GitError, durable, repo};
use crate::build::{Builder, Request, Source};
use crate::steps;
use git2::Oid;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Desk {
    listener: UnixListener,
    pushes: Pushes,
    builder: Builder,
}

/// `<data>/hooks`: links to this executable, named as git looks for them.
pub(super) fn install_hooks(dir: &Path, lathe: &Path) -> Result<(), GitError> {
    let failed = |source| GitError::Hooks { path: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    for name in NAMES {
        let link = dir.join(name);
        // An upgrade moves the executable: the link is made anew at each start.
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => symlink(lathe, &link).map_err(failed)?,
        }
    }
    Ok(())
}

impl Desk {
    pub(super) fn open(socket: &Path, pushes: Pushes, builder: Builder) -> Result<Self, GitError> {
        let failed = |source| GitError::Socket { path: socket.to_owned(), source };
        if let Err(error) = std::fs::remove_file(socket)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(error));
        }
        let listener = UnixListener::bind(socket).map_err(failed)?;
        std::fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, pushes, builder })
    }

    /// Answers hooks until `shutdown`; those still waiting are then cut off, and their pushes fail.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut calls = JoinSet::new();
        loop {
            let stream = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = calls.join_next() => continue,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "a hook was not heard");
                        // Out of descriptors, most likely: some come back when a push ends.
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (pushes, builder) = (self.pushes.clone(), self.builder.clone());
            calls.spawn(async move {
                if let Err(error) = serve(stream, &pushes, &builder).await {
                    tracing::info!(error = &error as &dyn std::error::Error, "a hook has gone");
                }
            });
        }
    }
}

/// A hook's stdout, at the other end of its socket.
struct Remote {
    stream: UnixStream,
}

impl Remote {
    async fn say(&mut self, text: &[u8]) -> io::Result<()> {
        for piece in text.chunks(FRAME_BYTES_MAX) {
            self.stream.write_all(&frame(TEXT, piece)).await?;
        }
        Ok(())
    }

    async fn refuse(&mut self, lines: &[String]) -> io::Result<bool> {
        self.say(refusal::text(lines).as_bytes()).await?;
        Ok(false)
    }
}

async fn serve(stream: UnixStream, pushes: &Pushes, builder: &Builder) -> io::Result<()> {
    let mut reader = BufReader::new(stream).take(CALL_BYTES_MAX);
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let call: Call = serde_json::from_str(&line)?;
    let mut remote = Remote { stream: reader.into_inner().into_inner() };
    let accepted = match pushes.find(&call.push) {
        None => remote.refuse(&["This push has ended.".into()]).await?,
        Some(push) => {
            let cancelled = push.cancel.clone();
            tokio::select! {
                () = cancelled.cancelled() => return Ok(()),
                answered = answer(&call, &push, pushes, builder, &mut remote) => answered?,
            }
        }
    };
    remote.stream.write_all(&frame(EXIT, &[u8::from(!accepted)])).await
}

async fn answer(
    call: &Call,
    push: &Arc<Push>,
    pushes: &Pushes,
    builder: &Builder,
    remote: &mut Remote,
) -> io::Result<bool> {
    match call.hook.as_str() {
        PRE_RECEIVE => {
            let desk = (pushes, builder);
            receive(desk, push, &updates(&call.input), call.quarantine.clone(), remote).await
        }
        REFERENCE_TRANSACTION => committed(push, &updates(&call.input), remote).await,
        other => remote.refuse(&[format!("There is no hook {other}.")]).await,
    }
}

/// Git's lines `<old> <new> <ref>`.
fn updates(input: &str) -> Vec<(Oid, Oid, String)> {
    let parse = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let mut oid = || parts.next().and_then(|text| Oid::from_str(text).ok());
        let (old, new) = (oid()?, oid()?);
        Some((old, new, parts.next()?.to_owned()))
    };
    input.lines().filter_map(parse).collect()
}

/// The refs have moved; git tells the client as soon as this returns. What cannot be made durable
/// must not be acknowledged, and at this point the only way not to is to end git.
async fn committed(
    push: &Arc<Push>,
    updates: &[(Oid, Oid, String)],
    remote: &mut Remote,
) -> io::Result<bool> {
    let repo = push.repo.clone();
    let names: Vec<String> = updates.iter().map(|(_, _, name)| name.clone()).collect();
    let synced = tokio::task::spawn_blocking(move || durable::sync_push(&repo, &names)).await;
    let Err(error) = synced.map_err(io::Error::other).flatten() else {
        steps::passed("refs synced");
        return Ok(true);
    };
    tracing::error!(error = &error as &dyn std::error::Error, "a push could not be made durable");
    remote.refuse(&["The push could not be written to disk.".into(), "Push again.".into()]).await?;
    push.cancel.cancel();
    Ok(false)
}

/// Decides about a push whose objects have all come: builds what is to be deployed.
async fn receive(
    (pushes, builder): (&Pushes, &Builder),
    push: &Arc<Push>,
    updates: &[(Oid, Oid, String)],
    quarantine: Option<PathBuf>,
    remote: &mut Remote,
) -> io::Result<bool> {
    steps::passed("pack checked, hook asked");
    let deploy = updates.iter().find(|(_, _, name)| is_deploy_branch(name.as_bytes()));
    let Some((old, commit, branch)) = deploy else {
        remote.say(b"Pushed to non-main branch, skipping build.\n").await?;
        return Ok(true);
    };
    let busy = "A build of this app is in progress; wait for it to end and push again.";
    if !pushes.deploy(push) {
        return remote.refuse(&[busy.into()]).await;
    }
    match current(push, branch).await {
        Ok(now) if now == *old => {}
        Ok(_) => {
            let moved = format!("{branch} has been pushed meanwhile.");
            return remote.refuse(&[moved, "Fetch it and push again.".into()]).await;
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "push");
            return remote.refuse(&["The repository could not be read. Push again.".into()]).await;
        }
    }
    let request = Request {
        app: push.access.app.clone(),
        account: push.access.account.clone(),
        source_version: commit.to_string(),
        source: Source::Commit { repo: push.repo.clone(), quarantine, commit: *commit },
        buildpacks: None,
    };
    let mut running = match builder.begin(request, push.cancel.child_token()).await {
        Ok(running) => running,
        Err(error) => return remote.refuse(&error.explain()).await,
    };
    while let Some(text) = running.output.next().await {
        remote.say(&text).await?;
    }
    Ok(running.ended().await.is_ok())
}

async fn current(push: &Arc<Push>, branch: &str) -> Result<Oid, repo::RepoError> {
    let (path, branch) = (push.repo.clone(), branch.to_owned());
    let read = tokio::task::spawn_blocking(move || repo::target(&path, &branch));
    Ok(read.await.unwrap_or(Ok(None))?.unwrap_or(Oid::ZERO_SHA1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_git_gives_to_hooks() {
        let (zero, one) = ("0".repeat(40), "1".repeat(40));
        let input = format!("{zero} {one} refs/heads/main\nnonsense\n{one} {zero} refs/heads/x\n");
        let read = updates(&input);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].2, "refs/heads/main");
        assert!(read[0].0.is_zero() && read[1].1.is_zero());
    }
}
