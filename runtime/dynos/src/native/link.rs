//! The engine's line to the spawner: requests with numbered answers, and what it tells by itself.

use super::spawner;
use super::wire::{self, Answer, Failure, Message, Order, Request};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// A spawner that does not answer within this is treated as gone. A start waits for what the new
/// container does, too; everything else is a matter of microseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const START_TIMEOUT: Duration = Duration::from_secs(30);

type Waiting = HashMap<u64, oneshot::Sender<(Answer, Vec<OwnedFd>)>>;

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    /// Of packets in fact, not of a stream: only `wire` reads and writes it.
    socket: UnixStream,
    /// Requests not yet answered; none once the connection has ended.
    waiting: Mutex<Option<Waiting>>,
    next: AtomicU64,
}

impl Link {
    pub(super) fn connect(dir: &Path) -> io::Result<Arc<Self>> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::connect(&socket, &spawner::address(&spawner::socket(dir))?)?;
        Ok(Arc::new(Self {
            socket: UnixStream::from_std(socket.into())?,
            waiting: Mutex::new(Some(HashMap::new())),
            next: AtomicU64::new(1),
        }))
    }

    /// The next thing the spawner tells; answers go to whoever asked. None at the end.
    pub(super) async fn listen(&self) -> Option<Message> {
        loop {
            let received = self
                .socket
                .async_io(Interest::READABLE, || wire::receive::<Message>(&self.socket))
                .await;
            match received {
                Ok(Some((Message::Reply { number, answer }, fds))) => {
                    let asker = self.waiting().as_mut().and_then(|all| all.remove(&number));
                    if let Some(asker) = asker {
                        // Whoever asked may have gone; then the descriptors close here.
                        drop(asker.send((answer, fds)));
                    }
                }
                Ok(Some((message, _))) => return Some(message),
                Ok(None) => return None,
                Err(error) => {
                    tracing::warn!(%error, "the spawner's message cannot be read");
                    return None;
                }
            }
        }
    }

    /// No answer comes any more.
    pub(super) fn close(&self) {
        self.waiting().take();
    }

    pub(super) async fn ask(
        &self,
        order: Order,
        fds: &[OwnedFd],
    ) -> Result<(Answer, Vec<OwnedFd>), Failure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        match self.waiting().as_mut() {
            Some(waiting) => waiting.insert(number, sender),
            None => return Err(gone()),
        };
        let at_most = if matches!(order, Order::Start(_)) { START_TIMEOUT } else { ANSWER_TIMEOUT };
        let request = Request { number, order };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let send = || wire::send(&self.socket, &request, &fds);
        self.socket
            .async_io(Interest::WRITABLE, send)
            .await
            .map_err(Failure::at("ask the spawner"))?;
        match tokio::time::timeout(at_most, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(gone()),
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection ended before an answer came.
pub(super) fn gone() -> Failure {
    Failure { step: "ask the spawner".to_owned(), errno: libc::EPIPE }
}
