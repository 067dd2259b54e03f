//! The link as both ends see it: whichever dies, tables arrive and every line is accounted for.

use crate::world::PATIENCE;
use bytes::Bytes;
use jiff::Timestamp;
use lathe_logs::{AppId, Ledger, Line, Receiver, Source, channel, counted_channel};
use lathe_router::link::{Cable, Desk, Life};
use lathe_router::{Demand, Feed, InFlight, InForce, Keyring, Pair, Routes};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const ACCOUNTS: &str = "accounts";
const ROUTER: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

/// A platform's end; gone when dropped, as if killed.
struct Platform {
    desk: Arc<Desk>,
    lines: Receiver,
    tables: watch::Sender<Arc<Routes>>,
    keyrings: watch::Sender<Arc<Keyring>>,
    serving: JoinHandle<()>,
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Platform {
    fn up(folder: &Path) -> Self {
        let (logs, lines) = channel(100_000);
        let (tables, routes) = watch::channel(Arc::default());
        let (keyrings, keyring) = watch::channel(Arc::default());
        let feed = Feed { routes, keyring };
        let (demand, in_force) = (Demand::default(), InForce::default());
        let desk = Arc::new(Desk::new(folder.join(ACCOUNTS), logs, demand, feed, in_force));
        let path = folder.join("link.sock");
        drop(std::fs::remove_file(&path));
        let door = UnixListener::bind(path).unwrap();
        let serving = tokio::spawn({
            let desk = Arc::clone(&desk);
            async move {
                while let Ok((stream, _)) = door.accept().await {
                    drop(desk.attend(stream).await);
                }
            }
        });
        Self { desk, lines, tables, keyrings, serving }
    }

    /// Everything it has been told, and how many lines as lost.
    fn heard(&mut self) -> (Vec<u64>, u64) {
        let lines = std::iter::from_fn(|| self.lines.try_recv().ok());
        let numbers = lines.map(|line| {
            assert_eq!((line.source, &*line.process), (Source::Heroku, "router"));
            String::from_utf8(line.text.to_vec()).unwrap().parse().unwrap()
        });
        let numbers = numbers.collect();
        (numbers, self.lines.losses().iter().map(|(_, lines, _)| lines).sum())
    }
}

fn line(number: u64) -> Line {
    Line {
        app: AppId::new("a"),
        time: Timestamp::now(),
        source: Source::Heroku,
        process: Arc::from("router"),
        text: Bytes::from(number.to_string()),
    }
}

/// A router's end with a queue for so many lines.
struct Router {
    folder: TempDir,
    logs: lathe_logs::Sender,
    tables: watch::Receiver<Arc<Routes>>,
    keyrings: watch::Receiver<Arc<Keyring>>,
    life: watch::Sender<Life>,
    held: JoinHandle<()>,
}

impl Router {
    fn new(queue: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let accounts = folder.path().join(ACCOUNTS);
        std::fs::create_dir(&accounts).unwrap();
        let ledger = Ledger::open(&accounts.join(format!("{ROUTER}.sent"))).unwrap();
        let (logs, lines) = counted_channel(queue, ledger);
        let (tables_in, tables) = watch::channel(Arc::default());
        let (keyrings_in, keyrings) = watch::channel(Arc::default());
        let cable = Cable {
            path: folder.path().join("link.sock"),
            router: ROUTER.to_owned(),
            tables: tables_in,
            keyrings: keyrings_in,
            lines,
            in_flight: InFlight::default(),
            in_force: InForce::default(),
            demand: Demand::default(),
        };
        let life = watch::Sender::new(Life::Serving);
        let held = tokio::spawn(cable.hold(life.subscribe()));
        Self { folder, logs, tables, keyrings, life, held }
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "waited in vain for {what}");
}

#[tokio::test]
async fn each_line_comes_once_and_in_order_through_one_platform_after_another() {
    let mut router = Router::new(100_000);
    let (mut numbers, mut lost, mut said) = (Vec::new(), 0, 0);
    for generation in 1..8 {
        let mut platform = Platform::up(router.folder.path());
        platform.tables.send_replace(Arc::new(Routes { generation, ..Routes::default() }));
        let table = router.tables.wait_for(|table| table.generation == generation);
        assert!(tokio::time::timeout(PATIENCE, table).await.is_ok());
        for _ in 0..500 {
            router.logs.send(line(said));
            said += 1;
        }
        // Killed with more or less under way.
        tokio::time::sleep(Duration::from_millis(generation)).await;
        let desk = Arc::clone(&platform.desk);
        platform.serving.abort();
        until("it is gone", || !desk.is_connected(ROUTER)).await;
        let heard = platform.heard();
        numbers.extend(heard.0);
        lost += heard.1;
    }
    let mut heir = Platform::up(router.folder.path());
    until("the rest comes", || {
        numbers.extend(heir.heard().0);
        numbers.len() as u64 + lost == said
    })
    .await;
    assert_eq!((numbers, lost), ((0..said).collect(), 0));
    until("it reports", || heir.desk.is_leaving(ROUTER) == Some(false)).await;
}

#[tokio::test]
async fn keyrings_go_down_and_one_without_a_default_certificate_is_none() {
    let mut router = Router::new(10);
    let platform = Platform::up(router.folder.path());
    until("it has come", || platform.desk.is_leaving(ROUTER) == Some(false)).await;
    assert!(!router.keyrings.has_changed().unwrap());
    let pair = Pair { chain: "chain".into(), key: "key".into() };
    let keyring = Keyring { default: Some(Arc::new(pair)), ..Keyring::default() };
    platform.keyrings.send_replace(Arc::new(keyring.clone()));
    let came = router.keyrings.wait_for(|came| **came == keyring);
    assert!(tokio::time::timeout(PATIENCE, came).await.is_ok());
}

#[tokio::test]
async fn what_finds_no_place_or_dies_with_the_router_is_counted() {
    let router = Router::new(10);
    for number in 0..30 {
        router.logs.send(line(number));
    }
    let mut platform = Platform::up(router.folder.path());
    let (mut came, mut lost) = (0, 0);
    until("all is accounted for", || {
        let heard = platform.heard();
        came += heard.0.len();
        lost += heard.1;
        came + usize::try_from(lost).unwrap() == 30
    })
    .await;
    assert_eq!((came, lost), (10, 20));

    // Killed: what it had counted and nobody has taken is known by the number.
    platform.serving.abort();
    until("it is gone", || !platform.desk.is_connected(ROUTER)).await;
    (0..7).for_each(|number| router.logs.send(line(number)));
    router.held.abort();
    assert!(platform.desk.accounts().unwrap().into_iter().eq([ROUTER.to_owned()]));
    platform.desk.settle(ROUTER).unwrap();
    assert!(platform.desk.accounts().unwrap().is_empty());
    assert_eq!(platform.heard(), (Vec::new(), 7));
}

#[tokio::test]
async fn a_router_that_is_over_goes_when_its_last_line_is_taken() {
    let router = Router::new(100);
    let mut platform = Platform::up(router.folder.path());
    until("it has come", || platform.desk.is_leaving(ROUTER) == Some(false)).await;
    router.life.send_replace(Life::Leaving);
    until("it leaves", || platform.desk.is_leaving(ROUTER) == Some(true)).await;
    router.logs.send(line(1));
    drop(router.logs);
    router.life.send_replace(Life::Over);
    assert!(tokio::time::timeout(PATIENCE, router.held).await.is_ok());
    assert_eq!(platform.heard(), (vec![1], 0));
}
