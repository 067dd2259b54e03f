//! The router as a dyno: kept running, fed through the link, and replaced without a gap.

use super::dyno::{self, Recipe};
use super::plan::{self, Act, Seen, State, plan};
use super::{Busy, Parts, last_table};
use crate::engine::Engine;
use crate::hosting::{self, Part};
use crate::roles::listeners::router_places;
use crate::roles::{Role, UpError};
use crate::state::system;
use jiff::Timestamp;
use lathe_dynos::containers::{Containers, EngineError, Known, Signal, StartError};
use lathe_dynos::spec::DynoId;
use lathe_logs::clock::steady_ms;
use lathe_router::link::Desk;
use lathe_router::{Demand, Feed, SavedError, save_keyring, save_routes};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Routers that are served at once: the one that serves, and those that finish what they had.
const GUESTS_MAX: usize = 64;
/// Ends and words wake the loop; this bounds what a lost one could cost.
const TICK: Duration = Duration::from_secs(1);
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const STARTING: &str = "starting";
/// As whom any of them speaks.
const ROUTER_1: &str = "router.1";
/// Private keys are for the router's user alone.
const READER: Option<u32> = Some(dyno::UID);
/// A piece of what a router says of itself.
const SAID_BYTES: usize = 4096;

pub(super) fn start(parts: &Parts<'_>, stack: &Path) -> Result<(Role, Busy, Demand), UpError> {
    let shown = dyno::shown(parts.config);
    let accounts = parts.config.data.join("cell/router-lines");
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| UpError::Data { path, source }
    };
    fs::create_dir_all(&accounts).map_err(at(&accounts))?;
    let door = open_door(&shown).map_err(at(&shown.join(dyno::LINK)))?;
    let demand = Demand::default();
    let Feed { routes, keyring } = &parts.feed;
    let feed = Feed { routes: routes.clone(), keyring: keyring.clone() };
    let (logs, in_force) = (parts.logs.clone(), parts.in_force.clone());
    let desk = Arc::new(Desk::new(accounts, logs, demand.clone(), feed, in_force));
    let copied = |socket: &TcpListener| socket.as_fd().try_clone_to_owned().map_err(at(&shown));
    let listeners = [copied(&parts.doors.plain)?, copied(&parts.doors.tls)?];
    let recipe = Recipe {
        lathe: parts.lathe.to_owned(),
        stack: stack.to_owned(),
        shown,
        public_port: parts.endpoints.router.port(),
        public_tls_port: parts.endpoints.router_tls.port(),
        log: parts.config.log.clone(),
        listeners,
        places: router_places(parts.config),
        release: parts.config.kept.clone(),
    };
    let made_of = recipe.mark().map_err(at(parts.lathe))?;
    let (data, parts_seen) = (parts.config.data.clone(), parts.hosted.clone());
    let keeper = Keeper {
        engine: Arc::clone(parts.engine),
        desk: Arc::clone(&desk),
        recipe,
        mark: String::new(),
        made_of,
        data: data.clone(),
        parts: parts_seen.clone(),
        states: BTreeMap::new(),
        began: Instant::now(),
        soon: 0,
        not_before: Instant::now(),
        heard: BTreeSet::new(),
    };
    let (table, routes, serving) = (last_table(parts.config), routes.clone(), desk.clone());
    let (ring, keyring) = (parts.config.keyring(), keyring.clone());
    let role = Role::start("router", |stop| async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeper.keep() => {}
            () = parts_seen.carry_out(|| renew(&data)) => {}
            () = receive(door, serving) => {}
            () = write_down(routes, move |routes| save_routes(&table, routes)) => {}
            () = write_down(keyring, move |keyring| save_keyring(&ring, keyring, READER)) => {}
        }
    });
    Ok((role, Box::new(move || desk.busy()), demand))
}

fn renew(data: &Path) {
    if let Err(error) = dyno::next_turn(data) {
        tracing::error!(%error, "the router cannot be told to be another");
    }
}

/// The socket at which routers find us. Its path may be longer than a socket's name can be.
fn open_door(shown: &Path) -> io::Result<UnixListener> {
    let path = shown.join(dyno::LINK);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    let dir = File::open(shown)?;
    let door = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), dyno::LINK);
    let door = UnixListener::bind(door)?;
    chown(&path, Some(dyno::UID), Some(dyno::UID))?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(door)
}

/// Serves every router that connects.
async fn receive(door: UnixListener, desk: Arc<Desk>) {
    let mut guests = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.accept(), if guests.len() < GUESTS_MAX => match accepted {
                Ok((stream, _)) => {
                    let desk = Arc::clone(&desk);
                    guests.spawn(async move { desk.attend(stream).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a router cannot connect");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = guests.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a router's link ended");
                }
                Err(error) => tracing::error!(%error, "a router's link failed"),
            },
        }
    }
}

/// Keeps on disk what routers start from.
async fn write_down<T: Send + Sync + 'static>(
    mut feed: watch::Receiver<Arc<T>>,
    save: impl Fn(&T) -> Result<(), SavedError> + Send + Sync + 'static,
) {
    let save = Arc::new(save);
    while feed.changed().await.is_ok() {
        let (save, news) = (Arc::clone(&save), Arc::clone(&feed.borrow_and_update()));
        let saved = tokio::task::spawn_blocking(move || save(&news)).await;
        if let Ok(Err(error)) = saved {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "what routers are told applies but is not saved");
        }
    }
    std::future::pending::<()>().await;
}

/// Why there is no router, or too many.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("a router could not be started")]
    Start(#[source] StartError),
    #[error("a router's log lines cannot be accounted for")]
    Account(#[from] io::Error),
}

struct Keeper {
    engine: Arc<Engine>,
    desk: Arc<Desk>,
    recipe: Recipe,
    /// What a router is now started as: what it is made of, and the how manieth of that.
    mark: String,
    made_of: String,
    data: PathBuf,
    parts: hosting::Parts,
    /// What each was last seen to be.
    states: BTreeMap<DynoId, &'static str>,
    began: Instant,
    /// Routers in a row that have ended soon.
    soon: u32,
    not_before: Instant,
    /// Whose words are listened to.
    heard: BTreeSet<DynoId>,
}

impl Keeper {
    async fn keep(mut self) {
        let mut exits = self.engine.events();
        loop {
            let wait = match self.step().await {
                Ok(wait) => wait.min(TICK),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the router cannot be kept");
                    TICK
                }
            };
            tokio::select! {
                _ = exits.recv() => {}
                () = self.desk.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what is to be done now; how long there is nothing else to do.
    async fn step(&mut self) -> Result<Duration, KeepError> {
        self.mark = match dyno::turn(&self.data) {
            0 => self.made_of.clone(),
            turn => format!("{} {turn}", self.made_of),
        };
        let mut known = dyno::all(&self.engine).await?;
        known.sort_by_key(|known| known.started_ms);
        self.account_for_strangers(&known)?;
        for router in known.iter().filter(|router| router.ended.is_none()) {
            if self.heard.insert(router.id) {
                self.listen(router.id).await;
            }
        }
        let seen: Vec<Seen> = known.iter().map(|known| self.look(known)).collect();
        self.show(&known, &seen);
        for act in plan(&seen) {
            match act {
                Act::Relieve(id) => self.engine.signal(id, Signal::SIGTERM).await?,
                Act::End(id) => {
                    tracing::error!(router = %id, "a router does not answer and is ended");
                    self.engine.kill(id).await?;
                }
                Act::Bury(id) => self.bury(known.iter().find(|known| known.id == id)).await?,
                Act::Start => {
                    let wait = self.not_before.saturating_duration_since(Instant::now());
                    if !wait.is_zero() {
                        return Ok(wait);
                    }
                    self.start().await.map_err(KeepError::Start)?;
                }
            }
        }
        Ok(TICK)
    }

    fn look(&self, known: &Known) -> Seen {
        let state = match (known.ended, self.desk.is_leaving(&known.id.to_string())) {
            (Some(_), _) => State::Ended,
            (None, None) => State::Silent,
            (None, Some(false)) => State::Serving,
            (None, Some(true)) => State::Leaving,
        };
        let fits = dyno::mark_of(known) == Some(&self.mark);
        Seen { id: known.id, state, fits, age: age(known).min(self.began.elapsed()) }
    }

    /// For users: what there is, and what has become of it.
    fn show(&mut self, known: &[Known], seen: &[Seen]) {
        let mut live: Vec<(&Known, &Seen)> =
            known.iter().zip(seen).filter(|(_, seen)| seen.state != State::Ended).rev().collect();
        live.sort_by_key(|(_, seen)| (seen.state != State::Serving, !seen.fits));
        let mut states = BTreeMap::new();
        let mut parts = Vec::new();
        for (number, (known, seen)) in (1..).zip(live) {
            let state = match seen.state {
                State::Silent => STARTING,
                State::Serving => "up",
                State::Leaving | State::Ended => "down",
            };
            if let Some(before) = self.states.get(&seen.id).filter(|before| **before != state) {
                let text = format!("State changed from {before} to {state}");
                hosting::say(&format!("{}.{number}", system::ROUTER), &text);
            }
            states.insert(seen.id, state);
            // One that is as this version would start it is this version's.
            let release = if seen.fits {
                self.recipe.release.clone()
            } else {
                dyno::release_of(known).cloned()
            };
            let since = Timestamp::from_millisecond(known.started_ms.cast_signed());
            parts.push(Part {
                id: known.id.to_string(),
                process_type: system::ROUTER,
                number,
                release,
                state,
                since: since.unwrap_or_default(),
            });
        }
        self.states = states;
        self.parts.see_routers(parts);
    }

    async fn start(&mut self) -> Result<(), StartError> {
        let id = DynoId::random();
        let failed = |source| StartError::Step { step: "prepare a router".to_owned(), source };
        let ledger = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.desk.sent(&id.to_string()))
            .map_err(failed)?;
        let start = self.recipe.start(id, &self.mark, ledger).map_err(failed)?;
        let started = self.engine.start_with(start, dyno::GRANTS).await;
        if started.is_ok() {
            self.states.insert(id, STARTING);
        } else {
            self.has_ended(Duration::ZERO);
            self.desk.settle(&id.to_string()).map_err(failed)?;
        }
        started.map(drop)
    }

    /// After everything it has said is read.
    async fn bury(&mut self, router: Option<&Known>) -> Result<(), KeepError> {
        let Some(router) = router else { return Ok(()) };
        let name = router.id.to_string();
        if self.desk.is_connected(&name) {
            return Ok(());
        }
        let ended = router.ended.unwrap_or_default();
        if ended.status != 0 {
            tracing::error!(router = name, status = ended.status, "a router has ended");
        }
        if dyno::mark_of(router) == Some(&self.mark) && ended.status != 0 {
            self.has_ended(Duration::from_millis(ended.at_ms.saturating_sub(router.started_ms)));
        }
        self.desk.settle(&name)?;
        self.heard.remove(&router.id);
        Ok(self.engine.forget(router.id).await?)
    }

    fn has_ended(&mut self, age: Duration) {
        self.soon = plan::ended(self.soon, age);
        self.not_before = Instant::now() + plan::pause(self.soon);
    }

    /// Of routers that nobody has buried, because the machine was switched off for instance.
    fn account_for_strangers(&self, known: &[Known]) -> io::Result<()> {
        let ours: BTreeSet<String> = known.iter().map(|known| known.id.to_string()).collect();
        let strangers = self.desk.accounts()?;
        strangers.difference(&ours).try_for_each(|name| self.desk.settle(name))
    }

    /// Passes on what a router says of itself.
    async fn listen(&self, id: DynoId) {
        let output = match self.engine.output(id).await {
            Ok(output) => output,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return tracing::warn!(error, router = %id, "a router is not heard");
            }
        };
        for stream in [output.stdout, output.stderr] {
            if let Ok(stream) = pipe::Receiver::from_owned_fd(stream) {
                tokio::spawn(pass_on(stream));
            }
        }
    }
}

fn age(known: &Known) -> Duration {
    Duration::from_millis(steady_ms().saturating_sub(known.started_ms))
}

/// Its lines are whole and have their time, for people; so has its log what it says.
async fn pass_on(mut stream: impl AsyncRead + Unpin) {
    let mut piece = vec![0; SAID_BYTES];
    while let Ok(bytes @ 1..) = stream.read(&mut piece).await {
        let text = String::from_utf8_lossy(piece.get(..bytes).unwrap_or_default());
        for line in text.lines() {
            hosting::of_part(ROUTER_1, line);
            writeln!(io::stderr(), "{line}").ok();
        }
    }
}
