//! Bytes from a dyno to its client.

use super::chunks::{CHUNK_BYTES_MAX, Chunks, Due};
use super::record::End;
use super::traffic::Traffic;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep, sleep_until};

/// How long output of an ended dyno may lag behind the news of its end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Passes on what the dyno writes until it has ended, which `end` tells, and all is read.
///
/// # Errors
/// The client does not take any more.
pub(super) async fn forward(
    wire: &mut Receiver,
    client: &mut (impl AsyncWrite + Unpin),
    end: &mut End,
    chunks: &mut Chunks,
    traffic: &Traffic,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    let mut open = true;
    loop {
        let due = chunks.due(Instant::now());
        if due == Due::Now || (due != Due::Never && !open) {
            send(client, &chunks.take()).await?;
            traffic.moved();
            continue;
        }
        if !open {
            // It may have closed its output and run on.
            let farewell = chunks.farewell(end.wait().await);
            return send(client, farewell.unwrap_or_default().as_bytes()).await;
        }
        let ended = end.is_known();
        tokio::select! {
            read = wire.read(&mut buffer[..chunks.room()]) => match read {
                Ok(0) | Err(_) => open = false,
                Ok(bytes) => chunks.push(&buffer[..bytes], Instant::now()),
            },
            () = until(due) => {}
            _ = end.wait(), if !ended => {}
            () = sleep(DRAIN_MAX), if ended => open = false,
        }
    }
}

/// One portion, in a TLS record of its own.
async fn send(client: &mut (impl AsyncWrite + Unpin), portion: &[u8]) -> io::Result<()> {
    client.write_all(portion).await?;
    client.flush().await
}

/// Reads what nobody wants, so that a dyno that is being ended is not held up by its last words.
pub(super) async fn discard(wire: &mut Receiver, end: &mut End) {
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    let drain = async { while matches!(wire.read(&mut buffer).await, Ok(1..)) {} };
    tokio::select! {
        _ = end.wait() => {}
        () = async { drain.await; pending().await } => {}
    }
}

async fn until(due: Due) {
    match due {
        Due::Now => {}
        Due::At(at) => sleep_until(at).await,
        Due::Never => pending().await,
    }
}
