//! One-offs on the fake engine, under virtual time.

use super::{Attachment, OneOffs, STARTS_MAX, State};
use crate::clock::Clock;
use crate::containers::{Containers, EngineError, Signal, StartError};
use crate::fake::{Behaviour, Call, Fake, Fault, spec};
use crate::spec::DynoId;

use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

struct Machine {
    fake: Fake,
    clock: Clock,
}

impl Machine {
    fn new(behaviour: Behaviour) -> Self {
        let clock = Clock::starting_at(1_700_000_000_000);
        Self { fake: Fake::new(clock, move |_| behaviour.clone()), clock }
    }

    fn oneoffs(&self) -> (OneOffs<Fake>, lathe_logs::Receiver) {
        let (logs, lines) = lathe_logs::channel(1000);
        (OneOffs::new(Arc::new(self.fake.clone()), logs), lines)
    }
}

fn said(lines: &mut lathe_logs::Receiver) -> Vec<String> {
    let mut said = Vec::new();
    while let Ok(line) = lines.try_recv() {
        let text = String::from_utf8_lossy(&line.text).into_owned();
        said.push(format!("{}[{}]: {text}", line.source.as_str(), line.process));
    }
    said
}

fn ends_after(after: Duration, status: u8) -> Behaviour {
    Behaviour { ends_after: Some((after, status)), ..Behaviour::default() }
}

#[tokio::test(start_paused = true)]
async fn a_detached_one_off_runs_once_and_tells_the_log() {
    let machine = Machine::new(Behaviour { says: b"moved 3\n".to_vec(), ..ends_after(SECOND, 9) });
    let (oneoffs, mut lines) = machine.oneoffs();
    let id = DynoId::random();
    oneoffs.start(id, spec("run.7"), Attachment::Detached).await.unwrap();
    let again = oneoffs.start(id, spec("run.7"), Attachment::Detached).await;
    assert!(matches!(again, Err(StartError::Repeated(_))));
    assert_eq!(oneoffs.list()[0].state, State::Up);
    assert_eq!(oneoffs.wait(id).await.unwrap().status, 9);
    assert_eq!(
        said(&mut lines),
        [
            "heroku[run.7]: State changed from created to starting",
            "heroku[run.7]: Starting process with command `run run.7`",
            "heroku[run.7]: State changed from starting to up",
            "app[run.7]: moved 3",
            "heroku[run.7]: Process exited with status 9",
            "heroku[run.7]: State changed from up to complete",
        ]
    );
    oneoffs.forget(id).await.unwrap();
    assert!(matches!(oneoffs.wait(id).await, Err(EngineError::Unknown(_))));
    assert!(oneoffs.list().is_empty() && machine.fake.containers().is_empty());
    sleep(SECOND * 100).await;
    assert_eq!((machine.fake.starts().len(), oneoffs.list().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn every_status_comes_back() {
    for status in 0..=255 {
        let machine = Machine::new(ends_after(Duration::ZERO, status));
        let (oneoffs, _lines) = machine.oneoffs();
        let id = DynoId::random();
        oneoffs.start(id, spec("run.1"), Attachment::Detached).await.unwrap();
        assert_eq!(oneoffs.wait(id).await.unwrap().status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_means_three_hangups_then_r16() {
    let machine = Machine::new(Behaviour { obeys_after: None, ..Behaviour::default() });
    let (oneoffs, mut lines) = machine.oneoffs();
    let id = DynoId::random();
    let terminal = Attachment::Terminal { rows: 24, columns: 80 };
    oneoffs.start(id, spec("run.1"), terminal).await.unwrap();
    said(&mut lines);
    let gone_ms = machine.clock.now_ms();
    oneoffs.hang_up(id);
    oneoffs.hang_up(id);
    assert_eq!(oneoffs.wait(id).await.unwrap().status, 137);
    assert_eq!(machine.clock.now_ms() - gone_ms, 15_000);
    let hup = Signal::SIGHUP;
    assert_eq!(machine.fake.signals(id), [hup, hup, hup, Signal::SIGKILL]);
    let closed = "heroku[run.1]: Client connection closed. Sending SIGHUP to all processes";
    assert_eq!(
        said(&mut lines),
        [
            closed,
            closed,
            closed,
            "heroku[run.1]: Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed.",
            "heroku[run.1]: Stopping process with SIGKILL",
            "heroku[run.1]: Process exited with status 137",
            "heroku[run.1]: State changed from up to complete",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn stopping_asks_first_and_kills_after_the_grace() {
    for (obeys_after, statuses, took_ms) in [(Some(SECOND), 143, 1_000), (None, 137, 30_000)] {
        let machine = Machine::new(Behaviour { obeys_after, ..Behaviour::default() });
        let (oneoffs, mut lines) = machine.oneoffs();
        let id = DynoId::random();
        oneoffs.start(id, spec("run.1"), Attachment::Detached).await.unwrap();
        let asked_ms = machine.clock.now_ms();
        oneoffs.stop(id, SECOND * 30);
        assert_eq!(oneoffs.wait(id).await.unwrap().status, statuses);
        assert_eq!(machine.clock.now_ms() - asked_ms, took_ms);
        let r12 = said(&mut lines).iter().any(|line| line.contains("Error R12"));
        assert_eq!(r12, obeys_after.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_detached_ones_go_on_and_attached_ones_are_hung_up() {
    let machine = Machine::new(Behaviour::default());
    let (before, _lines) = machine.oneoffs();
    let [detached, attached, over] = [(); 3].map(|()| DynoId::random());
    before.start(detached, spec("run.1"), Attachment::Detached).await.unwrap();
    let terminal = Attachment::Terminal { rows: 24, columns: 80 };
    before.start(attached, spec("run.2"), terminal).await.unwrap();
    before.start(over, spec("run.3"), Attachment::Detached).await.unwrap();
    before.close().await;
    drop(before);
    machine.fake.end(over, 4, false);

    let (after, mut lines) = machine.oneoffs();
    assert_eq!(after.wait(over).await.unwrap().status, 4);
    assert_eq!(after.wait(attached).await.unwrap().status, 129);
    assert_eq!(machine.fake.signals(attached), [Signal::SIGHUP]);
    assert_eq!(machine.fake.signals(detached), []);
    machine.fake.end(detached, 5, false);
    assert_eq!(after.wait(detached).await.unwrap().status, 5);
    assert!(said(&mut lines).contains(&"heroku[run.1]: Process exited with status 5".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_up_and_never_repeated() {
    for (terminal, fault, starts) in [
        (false, Fault::LoseAnswer, true),
        (true, Fault::LoseAnswer, false),
        (false, Fault::Refuse, false),
    ] {
        let machine = Machine::new(Behaviour::default());
        machine.fake.fail(move |call| (call == Call::Start).then_some(fault));
        let (oneoffs, _lines) = machine.oneoffs();
        let id = DynoId::random();
        let attachment = if terminal {
            Attachment::Terminal { rows: 1, columns: 1 }
        } else {
            Attachment::Detached
        };
        let started = oneoffs.start(id, spec("run.1"), attachment).await;
        assert_eq!(started.is_ok(), starts, "{fault:?}");
        assert_eq!(machine.fake.list().await.unwrap().len(), usize::from(starts));
        assert_eq!(oneoffs.list().len(), usize::from(starts));
    }
}

#[tokio::test(start_paused = true)]
async fn many_are_started_in_turn_and_one_that_is_stopped_before_its_turn_never_runs() {
    let machine = Machine::new(Behaviour::default());
    let slow = Fault::Delay(SECOND);
    machine.fake.fail(move |call| (call == Call::Start).then_some(slow));
    let (oneoffs, mut lines) = machine.oneoffs();
    let oneoffs = Arc::new(oneoffs);
    let mut starts = tokio::task::JoinSet::new();
    let ids: Vec<DynoId> = (0..=2 * STARTS_MAX).map(|_| DynoId::random()).collect();
    for (number, id) in ids.iter().copied().enumerate() {
        let oneoffs = oneoffs.clone();
        starts.spawn(async move {
            oneoffs.start(id, spec(&format!("run.{number}")), Attachment::Detached).await
        });
    }
    let began_ms = machine.clock.now_ms();
    sleep(SECOND / 2).await;
    let last = *ids.last().unwrap();
    oneoffs.stop(last, SECOND * 30);
    // A client waits for this one.
    let terminal = Attachment::Terminal { rows: 24, columns: 80 };
    oneoffs.start(DynoId::random(), spec("run.99"), terminal).await.unwrap();
    assert_eq!(machine.clock.now_ms() - began_ms, 1_500);
    let mut withdrawn = 0;
    while let Some(start) = starts.join_next().await {
        withdrawn += usize::from(matches!(start.unwrap(), Err(StartError::Withdrawn(_))));
    }
    assert_eq!((withdrawn, machine.clock.now_ms() - began_ms), (1, 2_000));
    assert!(oneoffs.list().iter().all(|one| one.id != last));
    let name = format!("[run.{}]", 2 * STARTS_MAX);
    let said: Vec<String> = said(&mut lines).into_iter().filter(|l| l.contains(&name)).collect();
    assert_eq!(
        said,
        [
            format!("heroku{name}: State changed from created to starting"),
            format!("heroku{name}: Stopping all processes with SIGTERM"),
            format!("heroku{name}: State changed from starting to complete"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_vanishes_is_not_waited_for_for_ever() {
    let machine = Machine::new(Behaviour::default());
    let (oneoffs, _lines) = machine.oneoffs();
    let id = DynoId::random();
    oneoffs.start(id, spec("run.1"), Attachment::Detached).await.unwrap();
    machine.fake.lose(id);
    assert_eq!(oneoffs.wait(id).await.unwrap().status, 137);
}
