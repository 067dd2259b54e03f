//! After `101 Switching Protocols`: bytes both ways until an end, or until both are silent.

use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::fault::Fault;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// One direction's buffer; a larger one buys nothing on a local network.
const BUFFER_BYTES: usize = 16 * 1024;

/// Both sockets, once hyper lets go of them.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) client: OnUpgrade,
    pub(crate) dyno: OnUpgrade,
    /// Of the dyno's socket.
    pub(crate) connection: Connection,
}

/// Waits until hyper has sent the 101 and lets go of both sockets.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) ends: Ends,
    pub(crate) exchange: Exchange,
    pub(crate) idle_timeout: Duration,
}

impl Tunnel {
    pub(crate) async fn run(mut self) {
        let Ends { client, dyno, mut connection } = self.ends;
        let (client, dyno) = match (client.await, connection.carry(dyno).await) {
            (Ok(client), Ok(dyno)) => (client, dyno),
            (Err(_), _) => return self.exchange.fail(Fault::ClientInterrupted),
            (Ok(_), Err(_)) => return self.exchange.fail(Fault::ResponseInterrupted),
        };
        let clock = Clock::start();
        let ended = tokio::select! {
            () = both_ways(client, dyno, &clock) => None,
            () = clock.silent_for(self.idle_timeout) => Some(Fault::DynoIdle),
        };
        let bytes = clock.to_client.load(Ordering::Relaxed);
        self.exchange.sent(usize::try_from(bytes).unwrap_or(usize::MAX));
        match ended {
            None => self.exchange.finish(),
            Some(fault) => self.exchange.fail(fault),
        }
    }
}

/// When a byte last moved, and how many went to the client.
#[derive(Debug)]
struct Clock {
    start: Instant,
    last_ms: AtomicU64,
    to_client: AtomicU64,
}

impl Clock {
    fn start() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0), to_client: AtomicU64::new(0) }
    }

    fn moved(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    async fn silent_for(&self, limit: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let end = last + limit;
            if Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end.into()).await;
        }
    }
}

/// Each direction ends by itself (half-close is passed on); an error in one ends both.
async fn both_ways(client: Upgraded, dyno: Upgraded, clock: &Clock) {
    let (client_reader, client_writer) = tokio::io::split(TokioIo::new(client));
    let (dyno_reader, dyno_writer) = tokio::io::split(TokioIo::new(dyno));
    let up = copy(client_reader, dyno_writer, clock, None);
    let down = copy(dyno_reader, client_writer, clock, Some(&clock.to_client));
    // A reset is how many WebSocket peers say goodbye: an end like any other.
    let _ended = tokio::try_join!(up, down);
}

async fn copy<R: AsyncRead, W: AsyncWrite>(
    mut from: ReadHalf<R>,
    mut to: WriteHalf<W>,
    clock: &Clock,
    count: Option<&AtomicU64>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        clock.moved();
        if read == 0 {
            return to.shutdown().await;
        }
        let (chunk, _) = buffer.split_at(read);
        to.write_all(chunk).await?;
        clock.moved();
        if let Some(count) = count {
            count.fetch_add(read as u64, Ordering::Relaxed);
        }
    }
}
