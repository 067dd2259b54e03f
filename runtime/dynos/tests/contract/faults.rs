//! Engines that die, daemons that die or hang, and operators.

use crate::script::{AtTerm, Script};
use crate::subject::{
    PATIENCE, Subject, clear, end, hear, known, output, start, wait_for, wait_some,
};
use lathe_dynos::containers::{Containers, EngineError, Signal};
use lathe_dynos::spec::DynoId;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const HANDLER: Script = Script {
    at_term: AtTerm::SaysAndEnds("after", 42),
    says: "before",
    takes_bytes: 0,
    listens: false,
    complains: "",
    ends: None,
};

pub(crate) async fn another_engine_finds_everything<S: Subject>() {
    let subject = S::new().await;
    let (running, started) = start(&subject, &HANDLER).await;
    hear(&subject, running, "before").await;
    let (ended, _) = start(&subject, &Script::ending("last words", 5)).await;
    let before = (end(&subject, ended).await, known(&subject, running).await);
    let subject = subject.reopen(async {}).await;
    assert_eq!(subject.engine().list().await.unwrap().len(), 2);
    let found = known(&subject, running).await;
    assert_eq!((end(&subject, ended).await, found.clone()), before);
    let found = found.unwrap();
    assert_eq!((found.pid, found.address), (started.pid, started.address));
    assert_eq!(output(&subject, ended).await, "last words\n", "nobody had read them");
    subject.engine().signal(running, Signal::SIGTERM).await.unwrap();
    assert_eq!(end(&subject, running).await.status, 42);
    assert!(output(&subject, running).await.ends_with("after\n"));
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn an_end_that_nobody_saw_is_known_afterwards<S: Subject>() {
    let subject = S::new().await;
    let script = Script { ends: Some((Duration::from_millis(400), 7)), ..Script::saying("said") };
    let (id, _) = start(&subject, &script).await;
    let subject = subject.reopen(sleep(Duration::from_secs(1))).await;
    assert_eq!(end(&subject, id).await.status, 7);
    assert_eq!(output(&subject, id).await, "said\n");
    clear(subject.engine()).await;
    subject.close().await;
}

/// One that was read and not yet noted down may come twice: never none.
pub(crate) async fn no_line_is_lost_from_one_engine_to_the_next<S: Subject>() {
    let subject = S::new().await;
    let (id, _) = start(&subject, &HANDLER).await;
    let mut heard = hear(&subject, id, "before").await;
    let subject = subject.reopen(async {}).await;
    subject.engine().signal(id, Signal::SIGTERM).await.unwrap();
    end(&subject, id).await;
    heard.push_str(&output(&subject, id).await);
    assert!(heard.starts_with("before\n") && heard.ends_with("after\n"), "{heard}");
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn what_was_removed_behind_our_back_is_noticed<S: Subject>() {
    let subject = S::new().await;
    let (taken, _) = start(&subject, &Script::default()).await;
    let (other, _) = start(&subject, &Script::default()).await;
    subject.remove(&known(&subject, taken).await.unwrap()).await;
    let engine = subject.engine();
    wait_for("it to be missed", async || {
        let listed = engine.list().await.unwrap();
        listed.iter().find(|known| known.id == taken).is_none_or(|known| known.ended.is_some())
    })
    .await;
    assert!(!engine.running().await.unwrap().contains(&taken));
    assert!(matches!(engine.forget(taken).await, Ok(()) | Err(EngineError::Unknown(_))));
    assert_eq!(known(&subject, other).await.unwrap().ended, None);
    let (next, _) = start(&subject, &Script::ending("", 3)).await;
    assert_eq!(end(&subject, next).await.status, 3);
    clear(engine).await;
    subject.close().await;
}

pub(crate) async fn a_daemon_that_is_killed_costs_no_dyno<S: Subject>() {
    let subject = S::new().await;
    let (running, _) = start(&subject, &HANDLER).await;
    let dying = Script { ends: Some((Duration::from_millis(500), 9)), ..Script::saying("last") };
    let (short, _) = start(&subject, &dying).await;
    hear(&subject, running, "before").await;
    subject.kill_daemon();
    answers(&subject, running).await;
    sleep(Duration::from_secs(1)).await;
    subject.revive_daemon().await;
    assert_eq!(end(&subject, short).await.status, 9, "its end is not lost");
    let said = output(&subject, short).await;
    assert!(said == "last\n" || (said.is_empty() && !S::LAST_WORDS), "nor what it said: {said:?}");
    signalled(&subject, running).await;
    assert_eq!(end(&subject, running).await.status, 42);
    wait_some("another start", async || {
        let start = subject.start_of(&Script::ending("", 3));
        let id = start.id;
        subject.engine().start(start).await.ok().map(|_| id)
    })
    .await;
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn a_daemon_that_is_stopped_costs_no_dyno<S: Subject>() {
    let subject = S::new().await;
    let (running, _) = start(&subject, &HANDLER).await;
    hear(&subject, running, "before").await;
    subject.stop_daemon(true);
    answers(&subject, running).await;
    subject.stop_daemon(false);
    signalled(&subject, running).await;
    assert_eq!(end(&subject, running).await.status, 42);
    clear(subject.engine()).await;
    subject.close().await;
}

/// Every call says something in time, be it that nobody answers.
async fn answers<S: Subject>(subject: &S, id: DynoId) {
    let engine = subject.engine();
    let begin = Instant::now();
    let calls =
        async { tokio::join!(engine.list(), engine.running(), engine.signal(id, Signal::SIGCONT)) };
    let (listed, running, signalled) = timeout(PATIENCE, calls).await.unwrap();
    for error in [listed.err(), running.err(), signalled.err()].into_iter().flatten() {
        assert!(matches!(error, EngineError::Gone), "{error:?}");
    }
    println!("all calls were answered after {:?}", begin.elapsed());
}

async fn signalled<S: Subject>(subject: &S, id: DynoId) {
    let signal = async || subject.engine().signal(id, Signal::SIGTERM).await.ok();
    wait_some("a signal to be taken", signal).await;
}
