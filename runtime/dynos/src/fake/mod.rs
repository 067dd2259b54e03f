//! An engine in memory under tokio's clock, with faults on order, for tests of the cell; and whole
//! machines under given time, for simulations of many.

mod behaviour;
mod dice;
mod machine;
mod wish;

pub use behaviour::{Behaviour, Call, Fault};
pub use dice::Dice;
pub use machine::{Machine, Weather};
pub use wish::{desired, spec};

use crate::clock::Clock;
use crate::containers::{
    Containers, Ended, EngineError, Exited, Known, Output, Ran, Signal, Start, StartError, Started,
    Usage,
};
use crate::spec::DynoId;
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

type Behave = dyn FnMut(&Start) -> Behaviour + Send;
type Fail = dyn FnMut(Call) -> Option<Fault> + Send;

/// A cheap handle; all clones are the same engine.
#[derive(Clone)]
pub struct Fake {
    clock: Clock,
    events: broadcast::Sender<Exited>,
    state: Arc<Mutex<State>>,
}

struct State {
    containers: BTreeMap<DynoId, Container>,
    /// Every start there ever was, in order, with its labels' slot.
    starts: Vec<Launch>,
    behave: Box<Behave>,
    fail: Box<Fail>,
    addresses: u32,
}

struct Container {
    known: Known,
    behaviour: Behaviour,
    launched: Instant,
    /// Its own ends of the pipes, and ours, of which everybody who asks has a copy.
    writers: Option<[File; 2]>,
    readers: [OwnedFd; 2],
    signals: Vec<Signal>,
}

/// One start as the engine saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    pub id: DynoId,
    pub name: String,
    pub at_ms: u64,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fake").finish_non_exhaustive()
    }
}

impl Fake {
    /// All dynos behave as `behave` says when they are started.
    pub fn new(clock: Clock, behave: impl FnMut(&Start) -> Behaviour + Send + 'static) -> Self {
        let state = State {
            containers: BTreeMap::new(),
            starts: Vec::new(),
            behave: Box::new(behave),
            fail: Box::new(|_| None),
            addresses: 0,
        };
        Self { clock, events: broadcast::Sender::new(64), state: Arc::new(Mutex::new(state)) }
    }

    /// From now on `fail` decides about every call.
    pub fn fail(&self, fail: impl FnMut(Call) -> Option<Fault> + Send + 'static) {
        self.state().fail = Box::new(fail);
    }

    pub fn starts(&self) -> Vec<Launch> {
        self.state().starts.clone()
    }

    /// Those that run, and those that ended and are not forgotten.
    pub fn containers(&self) -> Vec<Known> {
        self.state().containers.values().map(|c| c.known.clone()).collect()
    }

    /// Ends a container behind everybody's back, as an operator would.
    pub fn end(&self, id: DynoId, status: u8, oom_killed: bool) {
        let at_ms = self.clock.now_ms();
        let ended =
            Ended { status, oom_killed, pids_denied: false, memory_peak_bytes: 64 << 20, at_ms };
        let mut state = self.state();
        let Some(container) = state.containers.get_mut(&id) else { return };
        if container.known.ended.is_none() {
            container.known.ended = Some(ended);
            container.writers = None;
            drop(state);
            // Without a cell nobody listens.
            let _heard = self.events.send(Exited { id, ended });
        }
    }

    /// Makes a container vanish: no event, no record.
    pub fn lose(&self, id: DynoId) {
        self.state().containers.remove(&id);
    }

    /// Signals a container was sent, in order.
    pub fn signals(&self, id: DynoId) -> Vec<Signal> {
        self.state().containers.get(&id).map(|c| c.signals.clone()).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_later(&self, id: DynoId, after: Duration, status: u8) {
        self.say_and_end_later(id, after, Vec::new(), status);
    }

    fn say_and_end_later(&self, id: DynoId, after: Duration, words: Vec<u8>, status: u8) {
        let fake = self.clone();
        tokio::spawn(async move {
            sleep(after).await;
            // It may have gone meanwhile, with its pipes.
            let said = fake.with(id, |container| {
                let [stdout, _] = container.writers.as_mut()?;
                stdout.write_all(&words).ok()
            });
            drop(said);
            fake.end(id, status, false);
        });
    }

    /// Applies the fault ordered for a call around what it does.
    async fn around<T>(
        &self,
        call: Call,
        act: impl FnOnce(&Self) -> Result<T, EngineError> + Send,
    ) -> Result<T, EngineError> {
        let fault = (self.state().fail)(call);
        match fault {
            None => act(self),
            Some(Fault::Refuse) => Err(EngineError::Gone),
            Some(Fault::LoseAnswer) => act(self).and(Err(EngineError::Gone)),
            Some(Fault::Delay(delay)) => {
                sleep(delay).await;
                act(self)
            }
        }
    }

    fn launch(&self, start: Start) -> Result<Started, StartError> {
        let id = start.id;
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        if state.containers.contains_key(&id) {
            return Err(StartError::Repeated(id));
        }
        let behaviour = (state.behave)(&start);
        let pipes = pipes([&behaviour.says, &behaviour.complains]);
        let (readers, writers) =
            pipes.map_err(|source| StartError::Step { step: "make pipes".to_owned(), source })?;
        state.addresses += 1;
        let pid = state.addresses;
        let address = Ipv4Addr::from(0x0AD5_0000 + state.addresses);
        let launch = Launch { id, name: start.spec.name.clone(), at_ms: now_ms };
        state.starts.push(launch);
        let (ends_after, takes_bytes) = (behaviour.ends_after, behaviour.takes_bytes);
        let memory_bytes = start.spec.class.memory_bytes;
        state.containers.insert(
            id,
            Container {
                known: Known {
                    id,
                    pid,
                    address,
                    labels: start.labels,
                    spec: start.spec,
                    started_ms: now_ms,
                    ended: None,
                },
                behaviour,
                launched: Instant::now(),
                writers: Some(writers),
                readers,
                signals: Vec::new(),
            },
        );
        drop(state);
        if takes_bytes > memory_bytes {
            self.end(id, 137, true);
        } else if let Some((after, status)) = ends_after {
            self.end_later(id, after, status);
        }
        Ok(Started { pid, address, terminal: None })
    }

    fn with<T>(&self, id: DynoId, see: impl FnOnce(&mut Container) -> T) -> Result<T, EngineError> {
        self.state().containers.get_mut(&id).map(see).ok_or(EngineError::Unknown(id))
    }
}

impl Container {
    fn is_sick(&mut self) -> bool {
        within(self.behaviour.sick.as_ref(), self.launched)
    }
}

fn within(ages: Option<&Range<Duration>>, launched: Instant) -> bool {
    ages.is_some_and(|ages| ages.contains(&launched.elapsed()))
}

fn pipes(words: [&[u8]; 2]) -> io::Result<([OwnedFd; 2], [File; 2])> {
    let (stdout, says) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, complains) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut writers = [File::from(says), File::from(complains)];
    for (writer, words) in writers.iter_mut().zip(words) {
        writer.write_all(words)?;
    }
    Ok(([stdout, stderr], writers))
}

impl Containers for Fake {
    async fn start(&self, start: Start) -> Result<Started, StartError> {
        let mut refused = None;
        let answer = self
            .around(Call::Start, |fake| match fake.launch(start) {
                Ok(started) => Ok(Some(started)),
                Err(error) => {
                    refused = Some(error);
                    Ok(None)
                }
            })
            .await?;
        match (answer, refused) {
            (Some(started), _) => Ok(started),
            (None, error) => Err(error.unwrap_or(StartError::Engine(EngineError::Gone))),
        }
    }

    async fn list(&self) -> Result<Vec<Known>, EngineError> {
        self.around(Call::List, |fake| Ok(fake.containers())).await
    }

    fn events(&self) -> broadcast::Receiver<Exited> {
        self.events.subscribe()
    }

    async fn signal(&self, id: DynoId, signal: Signal) -> Result<(), EngineError> {
        self.around(Call::Signal, |fake| {
            let behaviour = fake.with(id, |container| {
                container.signals.push(signal);
                container.behaviour.clone()
            })?;
            // The one signal here that asks nobody to end.
            let obeys_after = behaviour.obeys_after.filter(|_| signal != Signal::SIGCONT);
            if let Some(after) = obeys_after {
                let number = u8::try_from(signal as i32).unwrap_or_default();
                let (words, status) = match signal {
                    Signal::SIGTERM => behaviour.at_term,
                    _ => (Vec::new(), 128 + number),
                };
                fake.say_and_end_later(id, after, words, status);
            }
            Ok(())
        })
        .await
    }

    async fn kill(&self, id: DynoId) -> Result<(), EngineError> {
        self.around(Call::Kill, |fake| {
            fake.with(id, |container| container.signals.push(Signal::SIGKILL))?;
            fake.end(id, 137, false);
            Ok(())
        })
        .await
    }

    async fn forget(&self, id: DynoId) -> Result<(), EngineError> {
        self.around(Call::Forget, |fake| {
            fake.with(id, |container| container.known.ended.is_some()).and_then(|ended| {
                if !ended {
                    let step = "forget while it runs".to_owned();
                    let source = io::ErrorKind::ResourceBusy.into();
                    return Err(EngineError::Failed { id, step, source });
                }
                fake.lose(id);
                Ok(())
            })
        })
        .await
    }

    async fn output(&self, id: DynoId) -> Result<Output, EngineError> {
        let copies = self.with(id, |container| {
            let [stdout, stderr] = &container.readers;
            Ok((stdout.try_clone()?, stderr.try_clone()?))
        })?;
        let (stdout, stderr) = copies.map_err(|source| {
            let step = "copy pipes".to_owned();
            EngineError::Failed { id, step, source }
        })?;
        Ok(Output { stdout, stderr, dropped_bytes: 0 })
    }

    async fn resize(&self, id: DynoId, _rows: u16, _columns: u16) -> Result<(), EngineError> {
        self.with(id, |_| ())
    }

    async fn listening(&self, id: DynoId) -> Result<Vec<u16>, EngineError> {
        self.around(Call::Listening, |fake| {
            fake.with(id, |container| {
                let running = container.known.ended.is_none();
                let listens = container
                    .behaviour
                    .listens_after
                    .is_some_and(|after| container.launched.elapsed() >= after);
                container.known.spec.port.filter(|_| running && listens).into_iter().collect()
            })
        })
        .await
    }

    async fn connects(&self, id: DynoId, _address: Ipv4Addr, port: u16) -> bool {
        let running = self.with(id, |container| {
            container.known.ended.is_none() && container.known.spec.port == Some(port)
        });
        running.unwrap_or(false)
    }

    async fn accepts(
        &self,
        id: DynoId,
        address: Ipv4Addr,
        port: u16,
        at_most: Duration,
    ) -> Result<bool, EngineError> {
        let sick = self.with(id, Container::is_sick)?;
        if sick {
            sleep(at_most).await;
        }
        Ok(!sick && self.connects(id, address, port).await)
    }

    async fn run(&self, id: DynoId, command: &str, _at_most: Duration) -> Result<Ran, EngineError> {
        self.around(Call::Run, |fake| {
            let unwell = fake.with(id, |container| match command {
                "ready" => within(container.behaviour.unready.as_ref(), container.launched),
                _ => container.is_sick(),
            })?;
            Ok(Ran { status: Some(u8::from(unwell)), last_line: String::new() })
        })
        .await
    }

    async fn usage(&self, id: DynoId) -> Result<Usage, EngineError> {
        self.with(id, |container| container.behaviour.usage.clone())
    }

    async fn runnable(&self, id: DynoId) -> Result<u32, EngineError> {
        self.with(id, |container| container.behaviour.runnable)
    }
}
