//! The fake engine on the bench: what the simulations stand on keeps the contract, too.

use crate::script::Script;
use crate::subject::Subject;
use lathe_dynos::clock::Clock;
use lathe_dynos::containers::{Known, Start, Stdio};
use lathe_dynos::fake::{Behaviour, Fake, Fault, spec};
use lathe_dynos::spec::DynoId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub(crate) struct Pretended {
    fake: Fake,
    scripts: Scripts,
}

/// What each dyno is to do.
type Scripts = Arc<Mutex<BTreeMap<DynoId, Behaviour>>>;

impl Subject for Pretended {
    type Engine = Fake;

    async fn new() -> Self {
        let scripts = Scripts::default();
        let told = Arc::clone(&scripts);
        let behave = move |start: &Start| told.lock().unwrap()[&start.id].clone();
        Self { fake: Fake::new(Clock::system(), behave), scripts }
    }

    fn engine(&self) -> &Fake {
        &self.fake
    }

    fn start_of(&self, script: &Script) -> Start {
        let id = DynoId::random();
        self.scripts.lock().unwrap().insert(id, script.behaviour());
        let mut spec = spec("web.1");
        spec.class = crate::world::class();
        Start {
            id,
            spec,
            labels: BTreeMap::from([("slot".to_owned(), "web.1".to_owned())]),
            stdio: Stdio::Logged,
            mounts: Vec::new(),
            extra_fds: Vec::new(),
            argv: None,
        }
    }

    /// The fake is what outlives engines.
    async fn reopen(self, meanwhile: impl Future<Output = ()>) -> Self {
        meanwhile.await;
        self
    }

    async fn remove(&self, known: &Known) {
        self.fake.lose(known.id);
    }

    fn kill_daemon(&self) {
        self.fake.fail(|_| Some(Fault::Refuse));
    }

    async fn revive_daemon(&self) {
        self.fake.fail(|_| None);
    }

    fn stop_daemon(&self, stopped: bool) {
        self.fake.fail(move |_| stopped.then_some(Fault::LoseAnswer));
    }

    async fn close(self) {
        crate::subject::clear(&self.fake).await;
    }
}
