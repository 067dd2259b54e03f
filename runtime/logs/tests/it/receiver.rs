//! A drain's receiver that behaves as told, well or badly, on loopback.

use crate::support::PATIENCE;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What one request is answered with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Status(u16),
    /// 302 to this address.
    Redirect(SocketAddr),
    /// Hang up in the middle of the head.
    Cut,
    /// Send nothing and keep the connection.
    Silence,
    /// A head that never ends.
    EndlessHead,
    /// A byte of the head every 50 ms.
    Trickle,
    /// 200 and a body that never ends.
    EndlessBody,
}

#[derive(Debug)]
pub(crate) struct Posted {
    /// The first line.
    pub(crate) request: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Posted {
    pub(crate) fn messages(&self) -> Vec<String> {
        let (mut rest, mut messages) = (&*self.body, Vec::new());
        while let Some((count, after)) = rest.split_once(' ') {
            let (message, next) = after.split_at(count.parse().unwrap());
            messages.push(message.to_owned());
            rest = next;
        }
        assert_eq!(self.headers["logplex-msg-count"], messages.len().to_string());
        messages
    }
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) posted: mpsc::Receiver<Posted>,
    kept: Kept,
    _server: JoinSet<()>,
}

/// Connections that stay open unanswered.
type Kept = Arc<Mutex<Vec<BufReader<TcpStream>>>>;

/// At an address that nothing else here listens at: once it is gone, its port is not soon another's.
pub(crate) async fn listener() -> TcpListener {
    static LISTENERS: AtomicU8 = AtomicU8::new(1);
    let host = LISTENERS.fetch_add(1, Ordering::Relaxed);
    TcpListener::bind((Ipv4Addr::new(127, 0, 8, host), 0)).await.unwrap()
}

impl Receiver {
    /// Answers the first requests as listed and all later ones like the last.
    pub(crate) async fn start(answers: &[Answer]) -> Self {
        let answers = answers.to_vec();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, posted) = mpsc::channel(10_000);
        let (mut server, kept) = (JoinSet::new(), Kept::default());
        let keeps = Arc::clone(&kept);
        server.spawn(async move {
            let mut n = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let silent = serve(stream, &answers, &mut n, &sender).await;
                keeps.lock().unwrap().extend(silent);
            }
        });
        Self { address, posted, kept, _server: server }
    }

    /// Ends the connections on which it was silent.
    pub(crate) fn hang_up(&self) {
        self.kept.lock().unwrap().clear();
    }

    pub(crate) async fn next(&mut self) -> Posted {
        let next = tokio::time::timeout(PATIENCE, self.posted.recv());
        next.await.unwrap().unwrap()
    }
}

/// One connection; given back when it is to stay open unanswered.
async fn serve(
    stream: TcpStream,
    answers: &[Answer],
    n: &mut usize,
    sender: &mpsc::Sender<Posted>,
) -> Option<BufReader<TcpStream>> {
    let mut stream = BufReader::new(stream);
    while let Some(posted) = read(&mut stream).await {
        sender.send(posted).await.unwrap();
        let answer = answers[(*n).min(answers.len() - 1)];
        *n += 1;
        let text = match answer {
            Answer::Status(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok"),
            Answer::Redirect(to) => {
                format!("HTTP/1.1 302 X\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n")
            }
            Answer::Cut => "HTTP/1.1 20".to_owned(),
            Answer::Silence => return Some(stream),
            Answer::Trickle => {
                trickle(&mut stream).await;
                return None;
            }
            Answer::EndlessHead => format!("HTTP/1.1 200 X\r\nx: {}", "x".repeat(1 << 20)),
            Answer::EndlessBody => {
                format!("HTTP/1.1 200 X\r\ncontent-length: 99999999\r\n\r\n{}", "x".repeat(1 << 20))
            }
        };
        let written = stream.write_all(text.as_bytes()).await;
        if written.is_err()
            || matches!(answer, Answer::Cut | Answer::EndlessHead | Answer::EndlessBody)
        {
            return None;
        }
    }
    None
}

/// Until the client has had enough.
async fn trickle(stream: &mut BufReader<TcpStream>) {
    for byte in b"HTTP/1.1 200 OK\r\n".iter().chain(std::iter::repeat(&b'x')) {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Posted> {
    let mut request = String::new();
    stream.read_line(&mut request).await.ok().filter(|length| *length > 0)?;
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Posted { request: request.trim_end().to_owned(), headers, body })
}
