//! An open connection to a dyno: hyper's two ends of it, and who moves its bytes.

use crate::upload::Upload;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::timeout;

pub(crate) struct Connection {
    sender: SendRequest<Upload>,
    mover: Mover,
}

/// Who moves the bytes.
enum Mover {
    /// Whoever waits for what comes of it: no other task has to be woken for each piece.
    Waiter(Socket),
    /// A task of its own: what goes up must not wait until somebody takes what comes down. It ends
    /// when the dyno closes, or the sender is dropped.
    Task,
    /// Nobody: it has ended, or speaks something else than HTTP now.
    Nobody,
}

/// hyper's end with the socket, which does nothing unless it is polled. What goes wrong on it is told
/// to the request.
type Socket = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl Connection {
    pub(crate) async fn open(address: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = timeout(limit, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let (sender, socket) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        Ok(Self { sender, mover: Mover::Waiter(Box::pin(socket.with_upgrades())) })
    }

    /// Whether a request could be sent, as far as the dyno has let us know by now.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.advance(&mut Context::from_waker(Waker::noop()));
        self.sender.is_ready()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Upload>,
    ) -> hyper::Result<Response<Incoming>> {
        if !request.body().is_end_stream() {
            self.set_apart();
        }
        let response = self.sender.send_request(request);
        self.carry(response).await
    }

    /// Waits for something that this connection brings.
    pub(crate) async fn carry<T>(&mut self, brought: impl Future<Output = T>) -> T {
        // It must never say that somebody will be woken because it has had its share of this turn.
        let mut brought = pin!(unconstrained(brought));
        poll_fn(|cx| self.poll_carry(cx, |cx| brought.as_mut().poll(cx))).await
    }

    /// The same for something that is polled.
    ///
    /// It comes while bytes are moved, which is here: nobody has to be woken for it, least of all the
    /// very task that is running. Only when there is nothing to move is that task put on the list of
    /// those who are woken by the socket.
    pub(crate) fn poll_carry<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut brought: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let mut quiet = Context::from_waker(Waker::noop());
        if self.is_moved_here() {
            if let ready @ Poll::Ready(_) = brought(&mut quiet) {
                return ready;
            }
            self.advance(&mut quiet);
            if let ready @ Poll::Ready(_) = brought(&mut quiet) {
                return ready;
            }
            self.advance(cx);
        }
        if self.is_moved_here() { brought(&mut quiet) } else { brought(cx) }
    }

    fn is_moved_here(&self) -> bool {
        matches!(self.mover, Mover::Waiter(_))
    }

    /// Moves what can be moved at this moment.
    fn advance(&mut self, cx: &mut Context<'_>) {
        if let Mover::Waiter(socket) = &mut self.mover
            && socket.as_mut().poll(cx).is_ready()
        {
            self.mover = Mover::Nobody;
        }
    }

    fn set_apart(&mut self) {
        if let Mover::Waiter(socket) = mem::replace(&mut self.mover, Mover::Task) {
            tokio::spawn(async move { drop(socket.await) });
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("is_moved_here", &self.is_moved_here()).finish()
    }
}
