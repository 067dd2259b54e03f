//! A router on a free port, scripted dynos behind it, raw clients in front.

use lathe_logs::AppId;
use lathe_router::{
    AppRoute, Availability, Doors, Feed, Keyring, RouterConfig, RouterError, Routes, Target, run,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Longest any test waits for anything: a bound for what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// A machine that stood still for as long as a limit is proves nothing: so often is tried.
pub(crate) const TRIES: usize = 5;
/// The smallest whole response.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";

/// A router that gives nothing and nobody up within a test: on a crowded machine everybody is slow
/// now and then. A test of a limit makes that one limit short.
pub(crate) fn patient() -> RouterConfig {
    RouterConfig {
        handshake_timeout: PATIENCE,
        header_timeout: PATIENCE,
        silent_timeout: PATIENCE,
        first_word_timeout: PATIENCE,
        keep_alive_timeout: PATIENCE,
        connect_timeout: PATIENCE,
        first_byte_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        shutdown_grace: PATIENCE,
        ..RouterConfig::default()
    }
}

/// An address that nothing else here listens at: once a port of it is closed, it is not soon
/// somebody else's.
pub(crate) async fn listener() -> TcpListener {
    static LISTENERS: AtomicU32 = AtomicU32::new(0);
    let number = LISTENERS.fetch_add(1, Ordering::Relaxed);
    let [_, _, third, fourth] = (number % 0xffff + 1).to_be_bytes();
    TcpListener::bind((Ipv4Addr::new(127, 9, third, fourth), 0)).await.unwrap()
}

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: SocketAddr,
    tables: watch::Sender<Arc<Routes>>,
    pub(crate) keyrings: watch::Sender<Arc<Keyring>>,
    lines: lathe_logs::Receiver,
    stop: Option<oneshot::Sender<()>>,
    router: JoinHandle<Result<(), RouterError>>,
    generation: u64,
}

impl World {
    /// A router whose app `app.test` is served by `dynos`.
    pub(crate) async fn new(config: RouterConfig, dynos: &[&Dyno]) -> Self {
        let mut world = Self::empty(config).await;
        world.serve(dynos).await;
        world
    }

    pub(crate) async fn empty(config: RouterConfig) -> Self {
        let (plain, tls) = (listener().await, listener().await);
        let address = plain.local_addr().unwrap();
        let tls_address = tls.local_addr().unwrap();
        let (tables, routes) = watch::channel(Arc::new(Routes::default()));
        let (keyrings, keyring) = watch::channel(Arc::default());
        let doors = Doors { plain, tls: Some(tls) };
        let feed = Feed { routes, keyring };
        let (logs, lines) = lathe_logs::channel(1000);
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(run(doors, feed, logs, Arc::new(config), stopped));
        Self {
            address,
            tls_address,
            tables,
            keyrings,
            lines,
            stop: Some(stop),
            router: running,
            generation: 0,
        }
    }

    pub(crate) async fn serve(&mut self, dynos: &[&Dyno]) {
        let targets = dynos.iter().map(|dyno| dyno.target.clone()).collect();
        self.publish(Availability::Serving, targets).await;
    }

    /// Publishes the next table and waits until it is in force.
    pub(crate) async fn publish(&mut self, availability: Availability, targets: Vec<Target>) {
        self.generation += 1;
        self.tables.send_replace(Arc::new(routes(self.generation, availability, targets)));
        let witness = format!("generation-{}.test", self.generation);
        let request = format!("GET / HTTP/1.1\r\nHost: {witness}\r\nConnection: close\r\n\r\n");
        let applied = async {
            while !self.exchange(&request).await.contains("<!-- H81 -->") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, applied).await.unwrap();
        while !self.line().await.contains(&witness) {}
    }

    /// Hands the router a table as it is.
    pub(crate) fn publish_raw(&self, routes: Routes) {
        self.tables.send_replace(Arc::new(routes));
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Everything the router answers to `request` until it closes.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.rest().await
    }

    /// The next line the router logs.
    pub(crate) async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await.unwrap().unwrap();
        assert_eq!((line.source.as_str(), &*line.process), ("heroku", "router"));
        String::from_utf8(line.text.to_vec()).unwrap()
    }

    pub(crate) fn has_line(&mut self) -> bool {
        self.lines.try_recv().is_ok()
    }

    /// Tells the router to end.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) {
        tokio::time::timeout(PATIENCE, &mut self.router).await.unwrap().unwrap().unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.router.abort();
    }
}

/// The app under test, and an app of its own for each generation, to see that it applies.
pub(crate) fn routes(generation: u64, availability: Availability, targets: Vec<Target>) -> Routes {
    let app = AppRoute { name: "app".to_owned(), availability, release: 1, targets };
    let witness = AppRoute {
        name: "witness".to_owned(),
        availability: Availability::Blank,
        release: 0,
        targets: Vec::new(),
    };
    Routes {
        generation,
        hosts: [
            ("app.test".to_owned(), AppId::new("app")),
            (format!("generation-{generation}.test"), AppId::new("witness")),
        ]
        .into(),
        apps: [(AppId::new("app"), Arc::new(app)), (AppId::new("witness"), Arc::new(witness))]
            .into(),
    }
}

/// A dyno that does with each connection what its script says.
pub(crate) struct Dyno {
    pub(crate) target: Target,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Dyno {
    pub(crate) async fn new<F, S>(name: &str, script: S) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Client) -> F + Send + 'static,
    {
        let listener = listener().await;
        let target = target(name, listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            let mut talks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                talks.spawn(script(Client(stream)));
            }
        });
        Self { target, connections, accepting }
    }

    /// Answers every request of a connection with `response`, once it has its head.
    pub(crate) async fn saying(name: &str, response: impl Into<String>) -> Self {
        let response = response.into();
        Self::new(name, move |mut client| {
            let response = response.clone();
            async move {
                while client.head().await.is_some_and(|head| !head.is_empty()) {
                    client.send(&response).await;
                }
            }
        })
        .await
    }

    /// Reads one head, sends `response`, closes.
    pub(crate) async fn closing_after(name: &str, response: impl Into<String>) -> Self {
        let response = response.into();
        Self::new(name, move |mut client| {
            let response = response.clone();
            async move {
                client.head().await;
                client.send(&response).await;
            }
        })
        .await
    }

    /// Answers `/held` when it is told, with all that have come by then, and everything else at once.
    pub(crate) async fn held(name: &str) -> (Self, watch::Sender<bool>) {
        let (told, hears) = watch::channel(false);
        let dyno = Self::new(name, move |mut client| {
            let mut hears = hears.clone();
            async move {
                let head = client.head().await.unwrap_or_default();
                if head.contains("GET /held ") {
                    drop(hears.wait_for(|told| *told).await);
                }
                client.send(OK).await;
            }
        });
        (dyno.await, told)
    }

    /// Sends back the head it was sent.
    pub(crate) async fn echo(name: &str) -> Self {
        Self::new(name, |mut client| async move {
            while let Some(head) = client.head().await {
                let length = head.len();
                client
                    .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}"))
                    .await;
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many connections have come.
    pub(crate) async fn called(&self, times: usize) {
        let called = async {
            while self.connections() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, called).await.unwrap();
    }
}

impl Drop for Dyno {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

pub(crate) fn target(name: &str, address: SocketAddr) -> Target {
    Target { dyno: format!("id-of-{name}"), name: name.to_owned(), address, weight: 1 }
}

/// One end of a connection, spoken raw.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    /// The other end may have gone: what it answered still tells.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.0.write_all(bytes.as_ref()).await);
    }

    /// Up to and with the next empty line. `None` when the other end closed before it.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let (mut head, mut ahead) = (Vec::new(), vec![0; 4096]);
        loop {
            // Looks before it reads, so that what follows the head stays in the socket.
            let peeked = tokio::time::timeout(PATIENCE, self.0.peek(&mut ahead)).await.unwrap();
            let peeked = peeked.ok().filter(|&count| count > 0)?;
            let known = head.len();
            head.extend_from_slice(&ahead[..peeked]);
            let end = head.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            head.truncate(end.unwrap_or(head.len()));
            self.0.read_exact(&mut ahead[..head.len() - known]).await.ok()?;
            if end.is_some() {
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
        }
    }

    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        tokio::time::timeout(PATIENCE, self.0.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes
    }

    /// A head and the body its `Content-Length` announces.
    pub(crate) async fn response(&mut self) -> String {
        let head = self.head().await.unwrap();
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
            })
            .unwrap_or(0);
        head + &String::from_utf8_lossy(&self.bytes(length).await)
    }

    /// Everything until the other end closes, an unclean close included.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        drop(tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.unwrap());
        String::from_utf8_lossy(&rest).into_owned()
    }
}
