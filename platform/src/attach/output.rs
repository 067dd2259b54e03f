//! Bytes from a dyno to its client.

use super::chunks::{CHUNK_BYTES_MAX, Chunks, Due};
use super::traffic::Traffic;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long output of an ended dyno may lag behind the news of its end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Passes on what the dyno writes until it has ended, which `over` tells, and all is read.
///
/// # Errors
/// The client does not take any more.
pub(super) async fn forward(
    wire: &mut Receiver,
    client: &mut (impl AsyncWrite + Unpin),
    over: &CancellationToken,
    traffic: &Traffic,
) -> io::Result<()> {
    let mut chunks = Chunks::default();
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    let mut open = true;
    loop {
        let due = chunks.due(Instant::now());
        if due == Due::Now || (due != Due::Never && !open) {
            client.write_all(&chunks.take()).await?;
            client.flush().await?;
            traffic.moved();
            continue;
        }
        if !open {
            // It may have closed its output and run on.
            over.cancelled().await;
            return Ok(());
        }
        let over_already = over.is_cancelled();
        tokio::select! {
            read = wire.read(&mut buffer[..chunks.room()]) => match read {
                Ok(0) | Err(_) => open = false,
                Ok(bytes) => chunks.push(&buffer[..bytes], Instant::now()),
            },
            () = until(due) => {}
            () = over.cancelled(), if !over_already => {}
            () = sleep(DRAIN_MAX), if over_already => open = false,
        }
    }
}

/// Reads what nobody wants, so that a dyno that is being ended is not held up by its last words.
pub(super) async fn discard(wire: &mut Receiver, over: &CancellationToken) {
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    let drain = async { while matches!(wire.read(&mut buffer).await, Ok(1..)) {} };
    tokio::select! {
        () = async { drain.await; over.cancelled().await } => {}
        () = over.cancelled() => {}
    }
}

async fn until(due: Due) {
    match due {
        Due::Now => {}
        Due::At(at) => sleep_until(at).await,
        Due::Never => std::future::pending().await,
    }
}
