//! The cell on the fake engine, under virtual time: Heroku's traces, adoption, and what no fault
//! may bring about.

mod health;
mod usage;

use super::seal::Unsealed;
use super::{Config, Stop, run};
use crate::clock::Clock;
use crate::fake::{Behaviour, Call, Fake, Fault, desired};
use crate::spec::{Desired, DynoState, EndCause, Observed, Slot};

use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// One machine: an engine that outlives its cells, and a disk.
struct Machine {
    fake: Fake,
    clock: Clock,
    dir: Arc<TempDir>,
}

/// A cell that runs on it.
struct Running {
    desired: watch::Sender<Arc<Desired>>,
    observed: watch::Receiver<Arc<Observed>>,
    lines: lathe_logs::Receiver,
    stop: oneshot::Sender<Stop>,
    task: JoinHandle<()>,
}

impl Machine {
    fn new(behaviour: Behaviour) -> Self {
        let clock = Clock::starting_at(1_700_000_000_000);
        let fake = Fake::new(clock, move |_| behaviour.clone());
        // In memory: each change of mind is an fsync.
        let dir = Arc::new(tempfile::tempdir_in("/dev/shm").unwrap());
        Self { fake, clock, dir }
    }

    fn cell(&self, wish: Desired) -> Running {
        let (desired, wishes) = watch::channel(Arc::new(wish));
        let (reports, observed) = watch::channel(Arc::default());
        let (logs, lines) = lathe_logs::channel(10_000);
        let (stop, stopped) = oneshot::channel();
        let config =
            Config { dir: self.dir.path().to_owned(), seal: Arc::new(Unsealed), clock: self.clock };
        let shutdown = async move { stopped.await.unwrap_or(Stop::LeaveDynos) };
        let fake = Arc::new(self.fake.clone());
        let task = tokio::spawn(run(config, fake, wishes, reports, logs, shutdown));
        Running { desired, observed, lines, stop, task }
    }
}

impl Running {
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Observed) -> bool) {
        let waited = timeout(SECOND * 3600, self.observed.wait_for(|o| holds(o))).await;
        assert!(matches!(waited, Ok(Ok(_))), "never {what}");
    }

    async fn until_all(&mut self, state: DynoState, n_dynos: usize) {
        self.until("all in one state", |o| {
            o.dynos.len() == n_dynos && o.dynos.values().all(|dyno| dyno.state == state)
        })
        .await;
    }

    fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Ok(line) = self.lines.try_recv() {
            let text = String::from_utf8_lossy(&line.text).into_owned();
            said.push(format!("{}[{}]: {text}", line.source.as_str(), line.process));
        }
        said
    }

    async fn end(self, stop: Stop) {
        self.stop.send(stop).unwrap();
        timeout(SECOND * 600, self.task).await.unwrap().unwrap();
    }
}

fn slot(name: &str) -> Slot {
    Slot(format!("v1/{name}"))
}

#[tokio::test(start_paused = true)]
async fn a_web_dyno_boots_and_says_so() {
    let machine =
        Machine::new(Behaviour { says: b"hello\nworld".to_vec(), ..Behaviour::default() });
    let mut cell = machine.cell(desired(1, ["web.1"]));
    cell.until_all(DynoState::Up, 1).await;
    let waited_ms = machine.clock.now_ms() - machine.fake.starts()[0].at_ms;
    assert!((300..=340).contains(&waited_ms), "{waited_ms}");
    machine.fake.end(machine.fake.starts()[0].id, 3, false);
    cell.until("a second start", |_| machine.fake.starts().len() == 2).await;
    assert_eq!(
        cell.said()[..9],
        [
            "heroku[web.1]: State changed from created to starting",
            "heroku[web.1]: Starting process with command `run web.1`",
            "app[web.1]: hello",
            "heroku[web.1]: State changed from starting to up",
            // No line end: it was waited for.
            "app[web.1]: world",
            "heroku[web.1]: Process exited with status 3",
            "heroku[web.1]: State changed from up to crashed",
            "heroku[web.1]: State changed from crashed to starting",
            "heroku[web.1]: Starting process with command `run web.1`",
        ]
    );
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn crash_restarts_follow_the_curve() {
    let waits_s = [0, 0, 30, 60, 120, 240, 480, 960, 960];
    let at_once = Some((Duration::ZERO, 1));
    let machine = Machine::new(Behaviour { ends_after: at_once, ..Behaviour::default() });
    let cell = machine.cell(desired(1, ["worker.1"]));
    sleep(Duration::from_secs(waits_s.iter().sum::<u64>() + 2)).await;
    let starts = machine.fake.starts();
    let seen_ms: Vec<u64> = starts.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect();
    assert_eq!(seen_ms.len(), waits_s.len(), "{seen_ms:?}");
    for (seen_ms, wait_s) in seen_ms.iter().zip(waits_s) {
        assert!((wait_s * 1000..=wait_s * 1000 + 20).contains(seen_ms), "{seen_ms}");
    }
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn after_two_hundred_crashes_it_stays_down() {
    let at_once = Some((Duration::ZERO, 0));
    let machine = Machine::new(Behaviour { ends_after: at_once, ..Behaviour::default() });
    let cell = machine.cell(desired(1, ["worker.1"]));
    sleep(SECOND * 185_250 * 2).await;
    assert_eq!(machine.fake.starts().len(), 200);
    let dyno = cell.observed.borrow().dynos[&slot("worker.1")].clone();
    assert_eq!((dyno.state, dyno.crashes), (DynoState::Crashed, 200));
    // Another slot is another dyno.
    let mut other = desired(2, ["worker.1"]);
    let wanted = other.dynos.remove(&slot("worker.1")).unwrap();
    other.dynos.insert(Slot("v2/worker.1".to_owned()), wanted);
    cell.desired.send_replace(Arc::new(other));
    sleep(SECOND).await;
    assert_eq!(machine.fake.starts().len(), 203);
    assert_eq!(machine.fake.containers().len(), 1, "the old record is forgotten");
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn r10_kills_without_sigterm_sixty_seconds_after_launch() {
    let machine = Machine::new(Behaviour { listens_after: None, ..Behaviour::default() });
    let killed = Arc::new(Mutex::new(Vec::new()));
    let calls = killed.clone();
    machine.fake.fail(move |call| {
        if matches!(call, Call::Signal | Call::Kill) {
            calls.lock().unwrap().push(call);
        }
        None
    });
    let mut cell = machine.cell(desired(1, ["web.1"]));
    cell.until("a crash", |o| o.dynos.values().any(|dyno| dyno.crashes == 1)).await;
    let starts = machine.fake.starts();
    assert_eq!(starts[1].at_ms - starts[0].at_ms, 60_000);
    assert_eq!(killed.lock().unwrap()[..], [Call::Kill]);
    assert_eq!(
        cell.said()[..6],
        [
            "heroku[web.1]: State changed from created to starting",
            "heroku[web.1]: Starting process with command `run web.1`",
            "heroku[web.1]: Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch",
            "heroku[web.1]: Stopping process with SIGKILL",
            "heroku[web.1]: Process exited with status 137",
            "heroku[web.1]: State changed from starting to crashed",
        ]
    );
    let end = cell.observed.borrow().dynos[&slot("web.1")].last_end.clone().unwrap();
    assert_eq!((end.cause, end.status), (EndCause::BootTimeout, 137));
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn r12_kills_thirty_seconds_after_sigterm() {
    let machine = Machine::new(Behaviour { obeys_after: None, ..Behaviour::default() });
    let mut cell = machine.cell(desired(1, ["worker.1"]));
    cell.until_all(DynoState::Up, 1).await;
    cell.said();
    let asked_ms = machine.clock.now_ms();
    cell.desired.send_replace(Arc::new(desired(2, [])));
    cell.until_all(DynoState::Stopping, 1).await;
    cell.until("gone", |o| o.dynos.is_empty()).await;
    assert_eq!(machine.clock.now_ms() - asked_ms, 30_000);
    assert!(machine.fake.containers().is_empty());
    assert_eq!(
        cell.said(),
        [
            "heroku[worker.1]: State changed from up to down",
            "heroku[worker.1]: Stopping all processes with SIGTERM",
            "heroku[worker.1]: Error R12 (Exit timeout) -> Process failed to exit within 30 seconds of SIGTERM",
            "heroku[worker.1]: Stopping process with SIGKILL",
            "heroku[worker.1]: Process exited with status 137",
        ]
    );
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_cell_adopts_what_runs_and_keeps_it_while_nobody_says_what_is_wanted() {
    let machine = Machine::new(Behaviour::default());
    let mut cell = machine.cell(desired(1, ["web.1", "worker.1"]));
    cell.until_all(DynoState::Up, 2).await;
    let ids = |cell: &Running| {
        cell.observed.borrow().dynos.values().map(|dyno| dyno.id).collect::<Vec<_>>()
    };
    let before = ids(&cell);
    cell.end(Stop::LeaveDynos).await;
    std::fs::remove_file(machine.dir.path().join("last-good")).unwrap();
    sleep(SECOND * 100).await;

    let mut cell = machine.cell(Desired::default());
    // The very first report already has both up: routers lose nothing.
    cell.observed.changed().await.unwrap();
    assert!(cell.observed.borrow().dynos.values().all(|dyno| dyno.state == DynoState::Up));
    assert_eq!(ids(&cell), before);
    // How long they have been up is not forgotten, beyond when within its boot a web dyno was.
    let since = |cell: &Running| {
        cell.observed.borrow().dynos.values().map(|dyno| dyno.since_ms).collect::<Vec<_>>()
    };
    let now_ms = machine.clock.now_ms();
    assert!(since(&cell).iter().all(|ms| now_ms - ms >= 40_000), "{:?} {now_ms}", since(&cell));
    sleep(SECOND * 300).await;
    assert_eq!(machine.fake.starts().len(), 2, "nothing was started again");
    assert_eq!(cell.said(), [""; 0]);
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_everything_comes_back_without_anybody_asking() {
    let machine = Machine::new(Behaviour::default());
    let mut cell = machine.cell(desired(5, ["web.1", "web.2", "worker.1"]));
    cell.until_all(DynoState::Up, 3).await;
    cell.end(Stop::StopDynos).await;
    assert!(machine.fake.containers().is_empty());

    let rebooted = Machine { fake: Fake::new(machine.clock, |_| Behaviour::default()), ..machine };
    let mut cell = rebooted.cell(Desired::default());
    cell.until("up again", |o| {
        o.generation == 5 && o.dynos.values().all(|d| d.state == DynoState::Up)
    })
    .await;
    assert_eq!(rebooted.fake.starts().len(), 3);
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_while_no_cell_watched_is_known_and_counts() {
    let machine = Machine::new(Behaviour::default());
    let mut cell = machine.cell(desired(1, ["worker.1"]));
    cell.until_all(DynoState::Up, 1).await;
    cell.end(Stop::LeaveDynos).await;
    machine.fake.end(machine.fake.starts()[0].id, 7, false);
    let mut cell = machine.cell(Desired::default());
    cell.until("up again", |o| o.dynos.values().any(|d| d.state == DynoState::Up)).await;
    let dyno = cell.observed.borrow().dynos[&slot("worker.1")].clone();
    assert_eq!((dyno.crashes, dyno.last_end.unwrap().status), (1, 7));
    assert!(cell.said().contains(&"heroku[worker.1]: Process exited with status 7".to_owned()));
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_only_the_list_tells_comes_after_the_last_line() {
    let words = b"the last word\n".to_vec();
    let machine = Machine::new(Behaviour { says: words, ..Behaviour::default() });
    let names: Vec<String> = (1..=100).map(|n| format!("worker.{n}")).collect();
    let mut cell = machine.cell(desired(1, names.iter().map(String::as_str)));
    cell.until_all(DynoState::Up, 100).await;
    // More at one moment than the engine keeps events of: the first of them are lost.
    for launch in machine.fake.starts() {
        machine.fake.end(launch.id, 3, false);
    }
    cell.until("all ended", |o| o.dynos.values().all(|dyno| dyno.last_end.is_some())).await;
    for dyno in cell.observed.borrow().dynos.values() {
        assert_eq!(dyno.last_end.as_ref().unwrap().last_lines, ["the last word"]);
    }
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_vanished_is_replaced() {
    let machine = Machine::new(Behaviour::default());
    let mut cell = machine.cell(desired(1, ["worker.1"]));
    cell.until_all(DynoState::Up, 1).await;
    machine.fake.lose(machine.fake.starts()[0].id);
    cell.until("lost and back", |o| {
        o.dynos.values().any(|d| {
            d.state == DynoState::Up
                && d.last_end.as_ref().is_some_and(|e| e.cause == EndCause::Lost)
        })
    })
    .await;
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_start_never_makes_two() {
    let machine = Machine::new(Behaviour::default());
    let mut lost = 0;
    machine.fake.fail(move |call| {
        lost += 1;
        (call == Call::Start && lost < 4).then_some(Fault::LoseAnswer)
    });
    let mut cell = machine.cell(desired(1, ["web.1"]));
    cell.until_all(DynoState::Up, 1).await;
    assert_eq!(machine.fake.starts().len(), 1);
    cell.end(Stop::LeaveDynos).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_dynos_start_and_stop_in_little_time() {
    let machine = Machine::new(Behaviour::default());
    let names: Vec<String> = (1..=1000).map(|n| format!("web.{n}")).collect();
    // Of this thread, so that it is the same beside others that work.
    let cpu = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let begin = cpu();
    let mut cell = machine.cell(desired(1, names.iter().map(String::as_str)));
    cell.until_all(DynoState::Up, 1000).await;
    let up = cpu().saturating_sub(begin);
    cell.desired.send_replace(Arc::new(desired(2, [])));
    cell.until("gone", |o| o.dynos.is_empty()).await;
    let gone = cpu().saturating_sub(begin);
    println!("1000 up after {up:?}, gone after {gone:?} of CPU time");
    assert!(gone < SECOND * 60, "{gone:?}");
    assert_eq!(machine.fake.starts().len(), 1000);
    cell.end(Stop::LeaveDynos).await;
}

/// What may happen to a machine between two moments.
#[derive(Clone, Debug)]
enum Event {
    /// The caller wants these of six slots.
    Want(u8),
    /// So many of the next calls at the engine fail like this.
    Fail(Call, Fault, u8),
    /// One of the containers that run ends or vanishes.
    End(u8),
    Lose(u8),
    /// The cell is gone without a word, and a new one is there.
    KillCell,
    Wait(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let call = prop_oneof![
        Just(Call::Start),
        Just(Call::List),
        Just(Call::Signal),
        Just(Call::Kill),
        Just(Call::Forget),
        Just(Call::Listening),
    ];
    let fault = prop_oneof![
        Just(Fault::Refuse),
        Just(Fault::LoseAnswer),
        (0_u64..400).prop_map(|s| Fault::Delay(SECOND * u32::try_from(s).unwrap())),
    ];
    prop_oneof![
        3 => (0_u8..64).prop_map(Event::Want),
        3 => (call, fault, 1_u8..6).prop_map(|(call, fault, n)| Event::Fail(call, fault, n)),
        2 => any::<u8>().prop_map(Event::End),
        1 => any::<u8>().prop_map(Event::Lose),
        1 => Just(Event::KillCell),
        3 => (0_u16..5_000).prop_map(Event::Wait),
    ]
}

const NAMES: [&str; 6] = ["web.1", "web.2", "web.3", "worker.1", "worker.2", "clock.1"];

/// At no moment do two containers of one slot run.
fn never_two(machine: &Machine) {
    let mut names: Vec<String> = machine
        .fake
        .containers()
        .into_iter()
        .filter(|known| known.ended.is_none())
        .map(|known| known.spec.name)
        .collect();
    names.sort();
    let n_running = names.len();
    names.dedup();
    assert_eq!(names.len(), n_running, "two in one slot");
}

async fn live_through(events: Vec<Event>) {
    let machine = Machine::new(Behaviour::default());
    let mut wish = desired(1, []);
    let mut cell = machine.cell(wish.clone());
    for (n, event) in events.into_iter().enumerate() {
        let running: Vec<_> =
            machine.fake.containers().into_iter().filter(|known| known.ended.is_none()).collect();
        match event {
            Event::Want(bits) => {
                let names = (0..6).filter(|bit| bits & (1 << bit) != 0).map(|bit| NAMES[bit]);
                wish = desired(n as u64 + 2, names);
                cell.desired.send_replace(Arc::new(wish.clone()));
            }
            Event::Fail(which, fault, mut times) => machine.fake.fail(move |call| {
                let fails = call == which && times > 0;
                times -= u8::from(fails);
                fails.then_some(fault)
            }),
            Event::End(pick) if !running.is_empty() => {
                machine.fake.end(running[usize::from(pick) % running.len()].id, pick, false);
            }
            Event::Lose(pick) if !running.is_empty() => {
                machine.fake.lose(running[usize::from(pick) % running.len()].id);
            }
            Event::End(_) | Event::Lose(_) => {}
            Event::KillCell => {
                cell.task.abort();
                cell = machine.cell(wish.clone());
            }
            Event::Wait(ms) => sleep(Duration::from_millis(ms.into())).await,
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        never_two(&machine);
    }
    machine.fake.fail(|_| None);
    // The longest fault, a full backoff and a boot.
    for _ in 0..60 {
        sleep(SECOND * 30).await;
        never_two(&machine);
    }
    let mut running: Vec<String> =
        machine.fake.containers().into_iter().map(|known| known.spec.name).collect();
    running.sort();
    let wanted: Vec<String> = wish.dynos.values().map(|w| w.spec.name.clone()).collect();
    assert_eq!(running, wanted, "what runs is what is wanted, and nothing is left over");
    let observed = cell.observed.borrow().clone();
    assert_eq!(observed.generation, wish.generation);
    assert!(observed.dynos.keys().eq(wish.dynos.keys()));
    assert!(observed.dynos.values().all(|dyno| dyno.state == DynoState::Up));
    cell.end(Stop::StopDynos).await;
    assert!(machine.fake.containers().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_fault_makes_two_of_one_and_all_is_well_in_the_end(
        events in prop::collection::vec(event(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(live_through(events));
    }
}
