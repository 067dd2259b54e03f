//! An engine on the test bench: what is done to it from outside, and how its answers are awaited.

use crate::script::Script;
use lathe_dynos::containers::{Containers, Ended, EngineError, Known, Start, Started};
use lathe_dynos::spec::DynoId;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

/// No wait in a test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// One engine with everything it needs, in places of its own.
pub(crate) trait Subject: Sized {
    type Engine: Containers;

    /// Whether it keeps the last words of a dyno that ends while what the engine leans on is dead.
    const LAST_WORDS: bool = true;

    async fn new() -> Self;

    fn engine(&self) -> &Self::Engine;

    fn start_of(&self, script: &Script) -> Start;

    /// The engine is gone without a word, as after `kill -9` of the platform.
    /// Meanwhile something happens; then the next engine opens.
    async fn reopen(self, meanwhile: impl Future<Output = ()>) -> Self;

    /// Takes a container away past the engine, as an operator would.
    async fn remove(&self, known: &Known);

    /// What the engine leans on is killed; `revive` is the machine's part in bringing it back.
    fn kill_daemon(&self);
    async fn revive_daemon(&self);

    /// It is there and answers nobody; `false`: it goes on.
    fn stop_daemon(&self, stopped: bool);

    /// Ends everything, and looks for what was left behind.
    async fn close(self);
}

pub(crate) async fn start<S: Subject>(subject: &S, script: &Script) -> (DynoId, Started) {
    let start = subject.start_of(script);
    let id = start.id;
    (id, timeout(PATIENCE, subject.engine().start(start)).await.unwrap().unwrap())
}

/// What the engine lists of one container.
pub(crate) async fn known<S: Subject>(subject: &S, id: DynoId) -> Option<Known> {
    let listed = subject.engine().list().await.unwrap();
    listed.into_iter().find(|known| known.id == id)
}

pub(crate) async fn end<S: Subject>(subject: &S, id: DynoId) -> Ended {
    // A daemon may be on its way back.
    let ended = async || match subject.engine().list().await {
        Ok(listed) => listed.into_iter().find(|known| known.id == id).unwrap().ended,
        Err(_) => None,
    };
    wait_some("an end", ended).await
}

/// All output until the end of both pipes, standard output first.
pub(crate) async fn output<S: Subject>(subject: &S, id: DynoId) -> String {
    let output = subject.engine().output(id).await.unwrap();
    let mut text = read(output.stdout).await;
    text.push_str(&read(output.stderr).await);
    text
}

async fn read(fd: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut pipe = pipe::Receiver::from_owned_fd(fd).unwrap();
    timeout(PATIENCE, pipe.read_to_end(&mut text)).await.unwrap().unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads standard output until `word` is heard; gives back all that was read.
pub(crate) async fn hear<S: Subject>(subject: &S, id: DynoId, word: &str) -> String {
    let output = subject.engine().output(id).await.unwrap();
    let mut pipe = pipe::Receiver::from_owned_fd(output.stdout).unwrap();
    let (mut heard, mut piece) = (String::new(), [0; 256]);
    while !heard.contains(word) {
        match timeout(PATIENCE, pipe.read(&mut piece)).await {
            Ok(Ok(bytes @ 1..)) => heard.push_str(&String::from_utf8_lossy(&piece[..bytes])),
            other => panic!("{other:?} instead of {word:?} after {heard:?}"),
        }
    }
    heard
}

pub(crate) async fn wait_some<T>(what: &str, mut see: impl AsyncFnMut() -> Option<T>) -> T {
    let waited = async {
        loop {
            if let Some(seen) = see().await {
                return seen;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

pub(crate) async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    wait_some(what, async || holds().await.then_some(())).await;
}

/// The end and the removal of every container that is left.
pub(crate) async fn clear<E: Containers>(engine: &E) {
    for known in engine.list().await.unwrap() {
        wait_for("the last ones to be gone", async || {
            // Whatever is wrong with one of them shows in the time it takes.
            drop(engine.kill(known.id).await);
            matches!(engine.forget(known.id).await, Ok(()) | Err(EngineError::Unknown(_)))
        })
        .await;
    }
    assert_eq!(engine.list().await.unwrap(), []);
}
