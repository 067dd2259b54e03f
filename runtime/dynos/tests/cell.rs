//! The cell on the native engine: needs root, as the engine does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "native/world.rs"]
#[expect(dead_code, reason = "the engine's own tests use the rest of it")]
mod world;

use lathe_dynos::cell::seal::Unsealed;
use lathe_dynos::cell::{Config, Stop, run};
use lathe_dynos::checks::Checks;
use lathe_dynos::clock::Clock;
use lathe_dynos::containers::Containers;
use lathe_dynos::native::{NativeConfig, NativeEngine};
use lathe_dynos::oneoff::{Attachment, OneOffs};
use lathe_dynos::spec::{Desired, DynoId, DynoSpec, DynoState, EndCause, Observed, Slot, Wanted};
use lathe_logs::{AppId, Line};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use world::{PATIENCE, UID, World, class};

const COUNT: &str = "n=0; while :; do echo tick $n; n=$((n+1)); sleep 0.05; done";
const STUBBORN: &str = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
const SERVE: &str = "exec python3 -c \"import socket, os, time
s = socket.create_server(('0.0.0.0', int(os.environ['PORT'])))
while True:
    s.accept()[0].sendall(b'hello')\"";

/// A world whose engine a cell can share.
struct Machine {
    engine: Arc<NativeEngine>,
    config: NativeConfig,
    stack: PathBuf,
    dir: TempDir,
    boot_timeout: Duration,
}

struct Cell {
    desired: watch::Sender<Arc<Desired>>,
    observed: watch::Receiver<Arc<Observed>>,
    lines: lathe_logs::Receiver,
    said: Vec<String>,
    stop: oneshot::Sender<Stop>,
    task: JoinHandle<()>,
}

impl Cell {
    fn on(machine: &Machine, wish: Desired) -> Self {
        let (desired, wishes) = watch::channel(Arc::new(wish));
        let (reports, observed) = watch::channel(Arc::default());
        let (logs, lines) = lathe_logs::channel(10_000);
        let (stop, stopped) = oneshot::channel();
        let dir = machine.dir.path().to_owned();
        let config = Config { dir, seal: Arc::new(Unsealed), clock: Clock::system() };
        let shutdown = async move { stopped.await.unwrap_or(Stop::LeaveDynos) };
        let task =
            tokio::spawn(run(config, machine.engine.clone(), wishes, reports, logs, shutdown));
        Self { desired, observed, lines, said: Vec::new(), stop, task }
    }

    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Observed) -> bool) -> Observed {
        let waited = timeout(PATIENCE, self.observed.wait_for(|o| holds(o))).await;
        let observed = waited.ok().and_then(Result::ok).map(|observed| (**observed).clone());
        if observed.is_none() {
            hear(&mut self.lines, &mut self.said);
        }
        observed.unwrap_or_else(|| panic!("never {what}; said: {:#?}", self.said))
    }

    async fn until_said(&mut self, text: &str) {
        let said = async {
            while !self.said.iter().any(|line| line.contains(text)) {
                let line = self.lines.recv().await.unwrap();
                self.said.push(text_of(&line));
            }
        };
        let heard = timeout(PATIENCE, said).await.is_ok();
        assert!(heard, "{text:?} was never said: {:#?}", self.said);
    }

    /// Ends it and gives back what was said and not yet read.
    async fn end(self, stop: Stop) -> Vec<String> {
        let Self { desired: _wish, observed: _, mut lines, mut said, stop: stopper, task } = self;
        stopper.send(stop).unwrap();
        timeout(PATIENCE, task).await.unwrap().unwrap();
        hear(&mut lines, &mut said);
        said
    }
}

fn hear(lines: &mut lathe_logs::Receiver, said: &mut Vec<String>) {
    while let Ok(line) = lines.try_recv() {
        said.push(text_of(&line));
    }
}

fn text_of(line: &Line) -> String {
    let text = String::from_utf8_lossy(&line.text);
    format!("{}[{}]: {text}", line.source.as_str(), line.process)
}

impl Machine {
    async fn new() -> Self {
        let World { engine, config, stack, dir, .. } = World::new().await;
        Self { engine, config, stack, dir, boot_timeout: PATIENCE }
    }

    /// Names of web dynos begin with `web`; they get a port.
    fn wish(&self, generation: u64, commands: &[(&str, &str)]) -> Desired {
        let wanted = |name: &str, command: &str| Wanted {
            spec: DynoSpec {
                app: AppId::new("app"),
                name: name.to_owned(),
                uid: UID,
                stack: self.stack.clone(),
                slug: None,
                command: command.to_owned(),
                env: BTreeMap::new(),
                class: class(),
                port: name.starts_with("web").then_some(5000),
            },
            boot_timeout: self.boot_timeout,
            stop_grace: Duration::from_secs(1),
            checks: Checks::default(),
            metrics: false,
        };
        let dynos = commands.iter().map(|(name, command)| (slot(name), wanted(name, command)));
        Desired { generation, dynos: dynos.collect() }
    }

    async fn close(self) {
        assert_eq!(self.engine.list().await.unwrap(), []);
        let engine = Arc::into_inner(self.engine).unwrap();
        World::of(engine, self.config, self.stack, self.dir).close().await;
    }
}

fn slot(name: &str) -> Slot {
    Slot(name.to_owned())
}

fn all(state: DynoState) -> impl FnMut(&Observed) -> bool {
    move |observed| {
        !observed.dynos.is_empty() && observed.dynos.values().all(|dyno| dyno.state == state)
    }
}

#[tokio::test]
async fn dynos_outlive_their_cell_and_lose_no_line() {
    let machine = Machine::new().await;
    let mut cell = Cell::on(&machine, machine.wish(1, &[("worker.1", COUNT)]));
    cell.until_said("tick 3").await;
    let before = machine.engine.list().await.unwrap();
    let mut said = cell.end(Stop::LeaveDynos).await;
    tokio::time::sleep(Duration::from_millis(300)).await;

    let mut cell = Cell::on(&machine, Desired::default());
    let observed = cell.until("adopted", all(DynoState::Up)).await;
    assert_eq!(observed.dynos[&slot("worker.1")].id, Some(before[0].id));
    cell.until_said("tick 20").await;
    assert_eq!(machine.engine.list().await.unwrap()[0].pid, before[0].pid);
    said.extend(cell.end(Stop::StopDynos).await);
    let ticks: Vec<usize> =
        said.iter().filter_map(|line| line.split_once("tick ")?.1.parse().ok()).collect();
    assert!(ticks.iter().copied().eq(0..ticks.len()), "{ticks:?}");
    assert!(said.iter().any(|line| line.contains("Process exited with status 143")));
    machine.close().await;
}

#[tokio::test]
async fn a_web_dyno_is_up_when_it_takes_connections_and_back_at_once_when_killed() {
    let machine = Machine::new().await;
    let mut cell = Cell::on(&machine, machine.wish(1, &[("web.1", SERVE)]));
    let up = cell.until("up", all(DynoState::Up)).await.dynos[&slot("web.1")].clone();
    let mut hello = String::new();
    let address = (up.address.unwrap(), 5000);
    TcpStream::connect(address).await.unwrap().read_to_string(&mut hello).await.unwrap();
    assert_eq!(hello, "hello");

    let begin = Instant::now();
    machine.engine.kill(up.id.unwrap()).await.unwrap();
    let again = cell
        .until("up again", |o| o.dynos.values().all(|d| d.state == DynoState::Up && d.crashes == 1))
        .await
        .dynos[&slot("web.1")]
        .clone();
    println!("up again {:?} after a kill", begin.elapsed());
    assert_eq!(again.last_end.unwrap().status, 137);
    assert_ne!((again.id, again.address), (up.id, up.address));
    cell.end(Stop::StopDynos).await;
    machine.close().await;
}

#[tokio::test]
async fn one_offs_end_exactly_and_outlive_the_platform() {
    let machine = Machine::new().await;
    let (logs, _lines) = lathe_logs::channel(1000);
    let spec =
        |command: &str| machine.wish(1, &[("run.1", command)]).dynos[&slot("run.1")].spec.clone();
    let oneoffs = OneOffs::new(machine.engine.clone(), logs.clone());
    for status in [0, 7, 255] {
        let id = DynoId::random();
        let command = format!("exit {status}");
        oneoffs.start(id, spec(&command), Attachment::Detached).await.unwrap();
        assert_eq!(timeout(PATIENCE, oneoffs.wait(id)).await.unwrap().unwrap().status, status);
        oneoffs.forget(id).await.unwrap();
    }
    let [detached, attached] = [(); 2].map(|()| DynoId::random());
    let wait = "trap 'exit 9' HUP; sleep 1 & wait $!; exit 4";
    oneoffs.start(detached, spec(wait), Attachment::Detached).await.unwrap();
    let terminal = Attachment::Terminal { rows: 24, columns: 80 };
    let started = oneoffs.start(attached, spec("sleep 100"), terminal).await.unwrap();
    oneoffs.close().await;
    drop(oneoffs);

    let oneoffs = OneOffs::new(machine.engine.clone(), logs);
    let ended = timeout(PATIENCE, oneoffs.wait(attached)).await.unwrap().unwrap();
    assert_eq!(ended.status, 129, "its client is gone");
    let ended = timeout(PATIENCE, oneoffs.wait(detached)).await.unwrap().unwrap();
    assert_eq!(ended.status, 4, "it went on");
    drop(started);
    for id in [attached, detached] {
        oneoffs.forget(id).await.unwrap();
    }
    drop(oneoffs);
    let engine = &machine.engine;
    world::wait_for("its tasks to end", || Arc::strong_count(engine) == 1).await;
    machine.close().await;
}

#[tokio::test]
async fn the_unwilling_are_ended_and_the_log_says_why() {
    let machine = Machine { boot_timeout: Duration::from_secs(2), ..Machine::new().await };
    let commands = [("worker.1", STUBBORN), ("web.1", "sleep 100")];
    let mut cell = Cell::on(&machine, machine.wish(1, &commands));
    cell.until_said("app[worker.1]: ready").await;
    let observed = cell
        .until("a boot timeout", |o| o.dynos.get(&slot("web.1")).is_some_and(|d| d.crashes > 0))
        .await;
    let end = observed.dynos[&slot("web.1")].last_end.clone().unwrap();
    assert_eq!((end.cause, end.status), (EndCause::BootTimeout, 137));
    cell.until_said("web.1]: Error R10 (Boot timeout)").await;

    let begin = Instant::now();
    cell.desired.send_replace(Arc::new(machine.wish(2, &[])));
    cell.until("all gone", |o| o.generation == 2 && o.dynos.is_empty()).await;
    assert!(begin.elapsed() >= Duration::from_secs(1), "the grace was {:?}", begin.elapsed());
    cell.until_said("worker.1]: Error R12 (Exit timeout)").await;
    cell.until_said("worker.1]: Process exited with status 137").await;
    cell.end(Stop::StopDynos).await;
    machine.close().await;
}
