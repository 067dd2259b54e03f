//! The router apart from the platform: whatever dies or is upgraded, requests, web sockets
//! and streams go on, and the log has a line for each.

use lathe_tests::{Platform, lathe, request_on, signal, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_mins(1);
const VISITORS: usize = 4;
/// What is said of connections that stay, of losses, and of single requests of the test's own.
const OTHER_LINES: u64 = 20;

/// `/stream` never ends, a request to switch is answered with an echo, everything else with "ok".
const WEB: &str = "\
import asyncio, os
OK = b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok'
SWITCH = b'HTTP/1.1 101 Switching Protocols\\r\\nConnection: upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n'
STREAM = b'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n'
async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b'\\r\\n\\r\\n')).lower()
            if b'upgrade: websocket' in head:
                writer.write(SWITCH)
                while data := await reader.read(4096):
                    writer.write(data)
                    await writer.drain()
                break
            elif b' /stream ' in head:
                writer.write(STREAM)
                while True:
                    writer.write(b'5\\r\\ntick\\n\\r\\n')
                    await writer.drain()
                    await asyncio.sleep(0.05)
            writer.write(OK)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, '0.0.0.0', int(os.environ['PORT']))
    await server.serve_forever()
asyncio.run(main())
";

pub(crate) fn deploy(platform: &Platform) {
    platform.release("apart", &json!({"web": "python3 web.py"}), &[("web.py", WEB)]);
    until("it serves", BOUND, || (platform.app("apart", "/").status == 200).then_some(()));
}

/// A connection that stays.
pub(crate) struct Line(BufReader<Box<dyn Stream>>);

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

impl Line {
    fn open(stream: impl Stream + 'static, path: &str, more: &str) -> Self {
        let mut line = Self(BufReader::new(Box::new(stream)));
        line.send(&format!("GET {path} HTTP/1.1\r\nHost: apart.localhost\r\n{more}\r\n"));
        while line.next() != "\r\n" {}
        line
    }

    fn plain(router: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(router).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream
    }

    pub(crate) fn web_socket(router: SocketAddr) -> Self {
        Self::open(Self::plain(router), "/socket", UPGRADE)
    }

    pub(crate) fn stream(router: SocketAddr) -> Self {
        Self::open(Self::plain(router), "/stream", "")
    }

    fn secured_web_socket(platform: &Platform) -> Self {
        let secured = until("it answers by TLS", BOUND, || {
            let mut secured = platform.secured("router_tls", "apart.localhost");
            secured.sock.set_read_timeout(Some(BOUND)).unwrap();
            secured.conn.complete_io(&mut secured.sock).ok().map(|_| secured)
        });
        Self::open(secured, "/socket", UPGRADE)
    }

    fn send(&mut self, text: &str) {
        let stream = self.0.get_mut();
        stream.write_all(text.as_bytes()).unwrap();
        stream.flush().unwrap();
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection has ended");
        line
    }

    pub(crate) fn echoes(&mut self, word: &str) {
        self.send(&format!("{word}\n"));
        assert_eq!(self.next(), format!("{word}\n"));
    }

    /// Something new comes: more than may lie about on the way.
    pub(crate) fn flows(&mut self) {
        for _ in 0..10 {
            while self.next() != "tick\n" {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Answered(u16),
    Refused,
    Lost,
}

/// One request on a connection of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    took: Duration,
    end: End,
}

/// Requests, several at a time.
pub(crate) struct Visitors {
    told: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<Visit>>>,
}

impl Visitors {
    pub(crate) fn come(router: SocketAddr) -> Self {
        let told = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let come = |told: Arc<AtomicBool>| {
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                let mut visits = Vec::new();
                while !told.load(Ordering::Relaxed) {
                    visits.push(visit(router));
                    count.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(3));
                }
                visits
            })
        };
        let threads = (0..VISITORS).map(|_| come(Arc::clone(&told))).collect();
        Self { told, count, threads }
    }

    /// How many there have been.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn go(self) -> Vec<Visit> {
        self.told.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

fn visit(router: SocketAddr) -> Visit {
    let began = Instant::now();
    let end = match TcpStream::connect(router) {
        Err(_) => End::Refused,
        Ok(stream) => {
            let answer = request_on(stream, "GET", "apart.localhost", "/", &[], b"");
            answer.map_or(End::Lost, |answer| End::Answered(answer.status))
        }
    };
    Visit { took: began.elapsed(), end }
}

pub(crate) fn all_answered(what: &str, visits: &[Visit]) {
    let failed: Vec<_> = visits.iter().filter(|v| v.end != End::Answered(200)).collect();
    let longest = visits.iter().map(|v| v.took).max();
    eprintln!("{what}: {} visits, longest {longest:?}, failed {}", visits.len(), failed.len());
    assert!(failed.is_empty() && visits.len() > 20, "{what}: {failed:?}");
}

/// How many lines the app's log has ever had, and how many of them are counted as lost.
pub(crate) fn lines(platform: &Platform) -> (u64, u64) {
    let (status, counts) = platform.api("GET", "/apps/apart/log-counts", &Value::Null);
    assert_eq!(status, 200, "{counts}");
    let of = |name: &str| counts[name].as_u64().unwrap();
    assert_eq!(of("emitted"), of("stored") + of("evicted") + of("dropped"), "{counts}");
    (of("emitted"), of("dropped"))
}

/// Every visit has its line, once, or is among those counted as lost; beside a few lines that are
/// not of visits. `before`: how many lines there were.
pub(crate) fn accounted(platform: &Platform, before: u64, visits: &[Visit]) {
    let answered = visits.iter().filter(|v| v.end == End::Answered(200)).count() as u64;
    let came = visits.len() as u64;
    let (more, lost) = until("every visit is accounted for", BOUND, || {
        let (emitted, lost) = lines(platform);
        (emitted - before >= answered).then_some((emitted - before, lost))
    });
    eprintln!("{came} visits, {answered} answered, {more} lines, {lost} of them counted as lost");
    assert!(more <= came + OTHER_LINES, "{more} lines of {came} visits");
}

/// fault R14, H10: the platform is killed. The router serves on from what it has: not one request
/// fails, a WebSocket and a stream go on, and what was logged meanwhile is in the log afterwards.
#[test]
fn without_the_platform_everything_goes_on() {
    let mut platform = Platform::start();
    deploy(&platform);
    let router = platform.address("router");
    let (mut socket, mut stream) = (Line::web_socket(router), Line::stream(router));
    socket.echoes("before");
    let (before, _) = lines(&platform);
    let routers = platform.routers();
    assert_eq!(routers.len(), 1);
    let visitors = Visitors::come(router);
    stream.flows();
    platform.kill();
    stream.flows();
    socket.echoes("dead");
    std::thread::sleep(Duration::from_secs(1));
    platform.up();
    stream.flows();
    socket.echoes("back");
    let mut visits = visitors.go();
    all_answered("platform killed", &visits);

    // The spawner and the platform at once: nobody but the router has the socket still.
    let visitors = Visitors::come(router);
    signal(platform.spawner_pid(), "KILL");
    platform.kill();
    stream.flows();
    platform.up();
    assert_eq!(platform.address("router"), router);
    stream.flows();
    socket.echoes("again");
    visits.extend(visitors.go());
    all_answered("both killed", &visits);
    assert_eq!(platform.routers(), routers, "the same one all the time");
    accounted(&platform, before, &visits);
}

/// fault R14: the router is killed. Nobody who comes meanwhile is refused, another one serves within
/// a moment, and the lines of the dead one are in the log or counted.
#[test]
fn a_router_that_is_killed_is_back_at_once() {
    let platform = Platform::start();
    deploy(&platform);
    let router = platform.address("router");
    let (before, _) = lines(&platform);
    // The next one begins with what this one has saved, and it serves before it saves.
    let target = platform.dyno("web.1");
    let target = format!("\"{}:{}\"", target.address, target.port.unwrap());
    until("the dyno is in the table on the disk", BOUND, || {
        let table = std::fs::read_to_string(platform.data().join("cell/router/routes.json"));
        table.ok()?.contains(&target).then_some(())
    });
    let visitors = Visitors::come(router);
    std::thread::sleep(Duration::from_millis(500));
    let [pid] = platform.routers()[..] else { panic!("one router: {:?}", platform.routers()) };
    let killed = Instant::now();
    signal(pid, "KILL");
    until("another one serves", BOUND, || {
        let end = visit(router).end;
        (end == End::Answered(200) && platform.routers() != [pid]).then_some(())
    });
    let back = killed.elapsed();
    let visits = visitors.go();
    // Whom it had let in it can answer no more: one of each visitor, and of the kernel's queue none.
    let lost: Vec<_> = visits.iter().filter(|v| v.end != End::Answered(200)).collect();
    let longest = visits.iter().map(|v| v.took).max();
    eprintln!("router killed: back after {back:?}, longest {longest:?}, lost {}", lost.len());
    assert!(lost.len() <= VISITORS && lost.iter().all(|v| v.end == End::Lost), "{lost:?}");
    accounted(&platform, before, &visits);
}

/// fault R14: platform and router are upgraded, and again, under load. The old router finishes what
/// it has, however long it lasts, by TLS too; the new one takes over its socket.
#[test]
fn an_upgrade_cuts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut platform = Platform::start();
    deploy(&platform);
    let router = platform.address("router");
    let (mut socket, mut stream) = (Line::web_socket(router), Line::stream(router));
    let mut secured = Line::secured_web_socket(&platform);
    let (before, _) = lines(&platform);
    let mut routers = platform.routers();
    let mut visits = Vec::new();
    for name in ["first", "second"] {
        let program = folder.path().join(name);
        std::fs::copy(lathe(), &program).unwrap();
        let visitors = Visitors::come(router);
        stream.flows();
        platform.stop();
        platform.upgrade(&program);
        platform.up();
        let all = until("another router serves", BOUND, || {
            let all = platform.routers();
            (all.iter().any(|pid| !routers.contains(pid))).then_some(all)
        });
        assert!(routers.iter().any(|pid| all.contains(pid)), "the old one is still there: {all:?}");
        routers = all;
        socket.echoes(name);
        secured.echoes(name);
        stream.flows();
        visits.extend(visitors.go());
    }
    all_answered("upgraded twice", &visits);
    accounted(&platform, before, &visits);
    socket.echoes("still");
    secured.echoes("still");
    drop((socket, secured, stream));
    until("nobody is kept without need", BOUND, || (platform.routers().len() == 1).then_some(()));
}
