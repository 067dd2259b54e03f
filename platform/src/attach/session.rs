//! One attached session: the dyno starts, bytes go both ways, and one of the two ends it.

use super::chunks::{CHUNK_BYTES_MAX, Chunks, Due};
use super::client::Client;
use super::dyno::{Streams, Wire};
use super::input;
use super::pending::Expected;
use super::record::{self, Live};
use crate::services::Services;
use lathe_dynos::containers::StartError;
use lathe_dynos::oneoff::Attachment;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Heroku Dev Center, "One-off dynos": a connection without traffic is closed after an hour.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// How long a dyno may take to read what a client sent before it left.
const LAST_INPUT_MAX: Duration = Duration::from_secs(2);
/// A client without input sends its end of input right after the greeting; a connection that is
/// closed before that makes the Heroku CLI lose the exit status.
const LINGER: Duration = Duration::from_secs(1);
/// How long a client that has closed its side may take to read what is left.
const LAST_OUTPUT_MAX: Duration = Duration::from_secs(30);
/// How long output of an ended dyno may lag behind the news of its end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Runs one session to its end. The dyno's own end is on record when it returns, unless `stop`
/// came first.
pub(super) async fn run(
    services: &Services,
    mut client: Client,
    expected: Expected,
    early: Vec<u8>,
    stop: &CancellationToken,
) {
    let id = expected.id;
    let terminal = expected.window.is_some();
    // Seen through even when this session is dropped: the row must follow the dyno.
    let start = tokio::spawn(start(services.clone(), expected));
    let started = tokio::select! {
        started = start => started,
        () = stop.cancelled() => return,
    };
    let (live, streams) = match started {
        Ok(Ok(started)) => started,
        Ok(Err(error)) => {
            let reason = format!("The dyno could not be started: {}", causes(&error));
            return client.refuse(&reason).await;
        }
        Err(_panicked) => return,
    };
    let Live { mut over, .. } = live;
    let traffic = Traffic::new(Instant::now());
    let left = match client.greet().await {
        Ok(()) => {
            let output = Output { wire: streams.output.clone(), over: &mut over };
            let input = input::Dyno::new(streams.input, terminal);
            relay(&mut client, output, input, early, &traffic, || services.oneoffs.hang_up(id), stop).await
        }
        Err(_gone) => Left::Client,
    };
    match left {
        Left::Dyno => {
            if !traffic.heard() {
                drop(timeout(LINGER, client.next_bytes()).await);
            }
            client.close().await;
        }
        Left::Client => {
            services.oneoffs.hang_up(id);
            drop(client);
            discard(&streams.output, &mut over).await;
        }
        Left::Stop => client.close().await,
    }
}
