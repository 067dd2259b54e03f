//! The client's end of an attached session: a TLS connection, and the sight of its going away.

use rustix::net::sockopt;
use std::io::{self, ErrorKind::WouldBlock};
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The Heroku CLI drops the first portion it receives, whatever is in it: nothing else may be.
const GREETING: &[u8] = b"rendezvous\r\n";
/// How long a client may take to accept a few bytes.
const SHORT_MAX: Duration = Duration::from_secs(5);
/// After the end, how long a client may take to close its side.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// What a client may send while its dyno reads nothing. The end of a client comes behind all that
/// it has sent: one that is killed is noticed at once as long as that finds room here, and else
/// only when its own machine gives up sending, after minutes.
const UNREAD_BYTES_MAX: usize = 4 << 20;
/// A silent peer is asked whether it is there: after this long, this often, this many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

#[derive(Debug)]
pub(super) struct Client {
    pub(super) reader: ReadHalf<TlsStream<TcpStream>>,
    pub(super) writer: WriteHalf<TlsStream<TcpStream>>,
    pub(super) socket: Socket,
}

/// The connection's socket once more, for its state alone.
#[derive(Debug)]
pub(super) struct Socket(TcpStream);

impl Socket {
    /// Waits until the peer has closed its side, also while bytes before that are unread.
    pub(super) async fn closed(&self) {
        while let Ok(ready) = self.0.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            // Nothing is read here, so that readiness has to be cleared by hand.
            let cleared = self.0.try_io(Interest::READABLE, || Err::<(), _>(WouldBlock.into()));
            debug_assert!(cleared.is_err());
        }
    }
}

impl Client {
    pub(super) async fn handshake(stream: TcpStream, tls: &TlsAcceptor) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // As root beyond the limit of the machine; without that as far as it goes.
        if sockopt::set_socket_recv_buffer_size_force(&stream, UNREAD_BYTES_MAX).is_err() {
            sockopt::set_socket_recv_buffer_size(&stream, UNREAD_BYTES_MAX)?;
        }
        let (idle, every, times) = KEEPALIVE;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, idle)?;
        sockopt::set_tcp_keepintvl(&stream, every)?;
        sockopt::set_tcp_keepcnt(&stream, times)?;
        let copy = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        let socket = Socket(TcpStream::from_std(copy)?);
        let (reader, writer) = tokio::io::split(tls.accept(stream).await?);
        Ok(Self { reader, writer, socket })
    }

    /// In a portion of its own.
    pub(super) async fn greet(&mut self) -> io::Result<()> {
        self.say(GREETING).await
    }

    /// A short text of the platform itself.
    pub(super) async fn say(&mut self, text: &[u8]) -> io::Result<()> {
        let said = async {
            self.writer.write_all(text).await?;
            self.writer.flush().await
        };
        timeout(SHORT_MAX, said).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Greets, says why there is no dyno, and closes.
    pub(super) async fn refuse(mut self, reason: &str) {
        // A client that has gone needs no reason.
        if self.greet().await.is_ok() && self.say(format!("{reason}\r\n").as_bytes()).await.is_ok()
        {
            self.close().await;
        }
    }

    /// Waits for the client's next bytes, or its end.
    pub(super) async fn next_bytes(&mut self) {
        let mut byte = [0];
        // Bytes and the end are the same here.
        drop(self.reader.read(&mut byte).await);
    }

    /// Closes our side, then waits a moment for the client's: closing a socket with unread bytes
    /// in it would reset the connection and lose what the client has not read yet.
    pub(super) async fn close(mut self) {
        if !matches!(timeout(SHORT_MAX, self.writer.shutdown()).await, Ok(Ok(()))) {
            return;
        }
        let mut sink = tokio::io::sink();
        drop(timeout(FAREWELL_MAX, tokio::io::copy(&mut self.reader, &mut sink)).await);
    }
}
