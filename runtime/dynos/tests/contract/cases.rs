//! The ordinary life of dynos.

use crate::script::{AtTerm, Script};
use crate::subject::{Subject, clear, end, hear, known, output, start, wait_for};
use lathe_dynos::containers::{Containers, EngineError, Signal, StartError};
use lathe_dynos::spec::DynoId;
use std::time::Duration;

pub(crate) async fn a_dyno_starts_speaks_and_ends<S: Subject>() {
    let subject = S::new().await;
    let mut events = subject.engine().events();
    let script = Script { complains: "bad", ..Script::ending("hello", 7) };
    let start = subject.start_of(&script);
    let (id, spec, labels) = (start.id, start.spec.clone(), start.labels.clone());
    let started = subject.engine().start(start).await.unwrap();
    assert_eq!(output(&subject, id).await, "hello\nbad\n");
    let ended = end(&subject, id).await;
    assert_eq!((ended.status, ended.oom_killed, ended.pids_denied), (7, false, false));
    let told = tokio::time::timeout(crate::subject::PATIENCE, events.recv()).await;
    let told = told.unwrap().unwrap();
    assert_eq!((told.id, told.ended), (id, ended), "it is told as it is listed");
    let listed = known(&subject, id).await.unwrap();
    assert_eq!((listed.spec, listed.labels), (spec, labels));
    assert_eq!(listed.address, started.address);
    assert!(listed.started_ms <= ended.at_ms, "{} {}", listed.started_ms, ended.at_ms);
    subject.engine().forget(id).await.unwrap();
    assert_eq!(known(&subject, id).await, None);
    subject.close().await;
}

pub(crate) async fn every_status_comes_back_as_it_was<S: Subject>() {
    let subject = S::new().await;
    for status in [0, 1, 126, 127, 128, 143, 255] {
        let (id, _) = start(&subject, &Script::ending("", status)).await;
        assert_eq!(end(&subject, id).await.status, status);
    }
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn sigterm_is_obeyed_handled_or_ignored_and_kill_is_the_end<S: Subject>() {
    let subject = S::new().await;
    for (at_term, status) in
        [(AtTerm::Dies, 143), (AtTerm::SaysAndEnds("bye", 42), 42), (AtTerm::Ignores, 137)]
    {
        let script = Script { at_term, ..Script::saying("ready") };
        let (id, _) = start(&subject, &script).await;
        hear(&subject, id, "ready").await;
        subject.engine().signal(id, Signal::SIGTERM).await.unwrap();
        if status == 137 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(known(&subject, id).await.unwrap().ended, None, "it ignores SIGTERM");
            subject.engine().kill(id).await.unwrap();
        }
        assert_eq!(end(&subject, id).await.status, status, "{at_term:?}");
        if status == 42 {
            assert!(output(&subject, id).await.ends_with("bye\n"));
        }
    }
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn an_identity_starts_once<S: Subject>() {
    let subject = S::new().await;
    let (id, _) = start(&subject, &Script::ending("", 3)).await;
    for ended in [false, true] {
        if ended {
            end(&subject, id).await;
        }
        let again = lathe_dynos::containers::Start { id, ..subject.start_of(&Script::default()) };
        match subject.engine().start(again).await {
            Err(StartError::Repeated(repeated)) => assert_eq!(repeated, id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(end(&subject, id).await.status, 3);
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn the_unknown_is_said_to_be_unknown<S: Subject>() {
    let subject = S::new().await;
    let (engine, id) = (subject.engine(), DynoId::random());
    let unknown = |answer: Result<(), EngineError>| {
        assert!(matches!(answer, Err(EngineError::Unknown(named)) if named == id), "{answer:?}");
    };
    unknown(engine.signal(id, Signal::SIGTERM).await);
    unknown(engine.kill(id).await);
    unknown(engine.forget(id).await);
    unknown(engine.output(id).await.map(drop));
    unknown(engine.resize(id, 1, 1).await);
    unknown(engine.listening(id).await.map(drop));
    unknown(engine.usage(id).await.map(drop));
    subject.close().await;
}

pub(crate) async fn an_ended_dyno_takes_every_call<S: Subject>() {
    let subject = S::new().await;
    let (id, _) = start(&subject, &Script::ending("words", 0)).await;
    end(&subject, id).await;
    let engine = subject.engine();
    engine.signal(id, Signal::SIGTERM).await.unwrap();
    engine.kill(id).await.unwrap();
    engine.resize(id, 20, 70).await.unwrap();
    assert!(engine.listening(id).await.unwrap().is_empty());
    engine.usage(id).await.unwrap();
    assert_eq!(engine.running().await.unwrap(), []);
    assert_eq!(output(&subject, id).await, "words\n");
    assert_eq!(end(&subject, id).await.status, 0, "its end stays what it was");
    clear(engine).await;
    subject.close().await;
}

pub(crate) async fn a_running_dyno_is_not_forgotten<S: Subject>() {
    let subject = S::new().await;
    let (id, _) = start(&subject, &Script::default()).await;
    assert!(matches!(subject.engine().forget(id).await, Err(EngineError::Failed { .. })));
    assert_eq!(known(&subject, id).await.unwrap().ended, None);
    assert_eq!(subject.engine().running().await.unwrap(), [id]);
    clear(subject.engine()).await;
    subject.close().await;
}

pub(crate) async fn a_listening_dyno_takes_connections<S: Subject>() {
    let subject = S::new().await;
    let (quiet, _) = start(&subject, &Script::default()).await;
    let (id, started) = start(&subject, &Script { listens: true, ..Script::default() }).await;
    let engine = subject.engine();
    wait_for("a port", async || engine.listening(id).await.unwrap() == [5000]).await;
    wait_for("a connection", async || engine.connects(id, started.address, 5000).await).await;
    assert!(!engine.connects(id, started.address, 5001).await);
    assert!(engine.listening(quiet).await.unwrap().is_empty());
    clear(engine).await;
    subject.close().await;
}

pub(crate) async fn too_much_memory_is_told_as_such<S: Subject>() {
    let subject = S::new().await;
    let script = Script { takes_bytes: 300 << 20, ..Script::default() };
    let (id, _) = start(&subject, &script).await;
    let ended = end(&subject, id).await;
    assert_eq!((ended.status, ended.oom_killed), (137, true));
    assert!(ended.memory_peak_bytes > 60 << 20, "{}", ended.memory_peak_bytes);
    clear(subject.engine()).await;
    subject.close().await;
}
