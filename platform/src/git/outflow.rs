//! A running git's answer on its way to the client; when the client goes, git goes.

use super::child;
use super::repo;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use std::io;
use std::path::PathBuf;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

const PIECE_BYTES: usize = 32 * 1024;

/// What an answer comes from. Dropped with the response, whatever has become of the client.
#[derive(Debug)]
pub(super) struct Outflow {
    pub(super) git: child::Git,
    /// What git has said already.
    pub(super) early: Bytes,
    pub(super) stdout: ChildStdout,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Outflow {
    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(Some(self), |outflow| async move {
            let mut outflow = outflow?;
            match outflow.piece().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(outflow))),
                Ok(None) => {
                    outflow.finish().await;
                    None
                }
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if !self.early.is_empty() {
            return Ok(Some(std::mem::take(&mut self.early)));
        }
        let never = CancellationToken::new();
        let cancelled = self.git.push().map_or(&never, |underway| &underway.push.cancel);
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        tokio::select! {
            () = cancelled.cancelled() => Err(io::Error::other("the push was ended")),
            read = self.stdout.read_buf(&mut piece) => {
                Ok((read? > 0).then(|| piece.freeze()))
            }
        }
    }

    /// Git has said everything: tidy up after a push.
    async fn finish(mut self) {
        let ended = self.git.wait().await;
        let Some(underway) = self.git.take_push() else { return };
        match ended {
            Ok(status) if status.success() => {}
            // It may have been killed, in the middle of anything.
            _ => return underway.sweep().await,
        }
        let path = underway.push.repo.clone();
        let settle = tokio::task::spawn_blocking(move || repo::settle_head(&path));
        if let Ok(Err(error)) = settle.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "HEAD");
        }
        let path = underway.push.repo.clone();
        drop(underway);
        if repo::wants_repack(&path) {
            // Not cancelled with the response: it is nobody's push any more.
            tokio::spawn(repack(path, self.permit));
        }
    }
}

/// Makes many packs one. Git's own lock keeps two of these apart; objects younger than two weeks
/// stay even if nothing reaches them, so a push that runs beside it loses nothing.
async fn repack(path: PathBuf, _permit: OwnedSemaphorePermit) {
    let mut command = child::command(&path, &[], &["-C"]);
    command.args(["gc", "--quiet"]);
    let Ok((mut git, stdin, stdout)) = child::Git::spawn(&mut command) else { return };
    drop((stdin, stdout));
    match tokio::time::timeout(repo::REPACK_TIMEOUT, git.wait()).await {
        Ok(Ok(status)) if status.success() => {}
        _ => tracing::warn!(repository = %path.display(), "git gc did not succeed"),
    }
}
