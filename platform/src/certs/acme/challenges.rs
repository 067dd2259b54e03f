//! What an authority is to be answered that asks whether a name is served here.

use lathe_router::CHALLENGE_PATH;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Host name → token → answer.
pub(in crate::certs) type Answers = BTreeMap<String, BTreeMap<String, String>>;

/// How long a router may take to know an answer.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub(in crate::certs) struct Challenges(std::sync::Arc<watch::Sender<Answers>>);

/// A name that no app has, under which each answer is given as well: whoever asks the router by it
/// disturbs nobody.
const NOBODY: &str = "challenge.lathe.invalid";

/// An answer that is given; not any more when dropped.
#[derive(Debug)]
pub(super) struct Given<'a> {
    challenges: &'a Challenges,
    host: String,
    token: String,
}

impl Challenges {
    pub(in crate::certs) fn answers(&self) -> watch::Receiver<Answers> {
        self.0.subscribe()
    }

    pub(super) fn give(&self, host: &str, token: &str, answer: &str) -> Given<'_> {
        self.0.send_modify(|answers| {
            for host in [host, NOBODY] {
                let of_host = answers.entry(host.to_owned()).or_default();
                of_host.insert(token.to_owned(), answer.to_owned());
            }
        });
        Given { challenges: self, host: host.to_owned(), token: token.to_owned() }
    }
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        self.challenges.0.send_modify(|answers| {
            for host in [&self.host, NOBODY] {
                if let Some(of_host) = answers.get_mut(host) {
                    of_host.remove(&self.token);
                }
            }
            answers.retain(|_, of_host| !of_host.is_empty());
        });
    }
}

/// Waits until the router at this address gives the answer; whether it did in time. The authority
/// asks once, and remembers.
pub(super) async fn is_given(router: SocketAddr, token: &str, answer: &str) -> bool {
    let asking = async {
        while ask(router, token).await.as_deref().ok() != Some(answer) {
            sleep(PAUSE).await;
        }
    };
    timeout(PATIENCE, asking).await.is_ok()
}

/// The body of the router's answer.
async fn ask(router: SocketAddr, token: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(reachable(router)).await?;
    let request = format!(
        "GET {CHALLENGE_PATH}{token} HTTP/1.1\r\nHost: {NOBODY}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text).await?;
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Who listens everywhere listens here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
