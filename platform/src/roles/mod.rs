//! All roles in one process, started in the order they need each other and stopped in reverse.

mod api;
mod cell;
mod drains;
mod governor;
mod ground;
mod housekeeping;
mod last_good;
mod listeners;
mod owner;
mod patience;
mod reserve;
mod rising;
mod router;
mod serve;

use crate::backup;
use crate::certs;
use crate::config::Config;
use crate::control;
use crate::control::routed::Routed;
use crate::endpoints::Endpoints;
use crate::engine::{self, Engine};
use crate::git::GitError;
use crate::hosting::{self, Parts};
use crate::services::Services;
use crate::stack::{self, StackError};
use crate::state::lock::DataLock;
use crate::state::model::App;
use crate::state::{StateError, Store};
use crate::tls::TlsError;
use ground::{Ground, open_slugs};
use jiff::Timestamp;
use lathe_dynos::cell::{Record, Stop};
use lathe_dynos::oneoff::OneOffs;
use lathe_dynos::spec::{Desired, Observed};
use lathe_logs::AppId;
use lathe_router::{Feed, InForce, Keyring, Routes};
use rising::{Raised, Rising};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A role that has not ended by then is left behind; what it holds is the kernel's to take back.
/// The router may take its grace twice: for the requests it had, and for those let in meanwhile.
const STOP_MAX: Duration = Duration::from_secs(70);

/// Why the platform did not come up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error("the data directory {path} could not be prepared")]
    Data {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the state could not be opened")]
    State(#[from] StateError),
    #[error("the stacks could not be made ready")]
    Stack(#[from] StackError),
    #[error("certificates could not be made ready")]
    Tls(#[from] TlsError),
    #[error("the slug store could not be opened")]
    Slugs(#[source] lathe_slug::StoreError),
    #[error("the container engine could not be opened")]
    Engine(#[from] engine::OpenError),
    #[error("{name} cannot listen on {address}")]
    Listen {
        name: &'static str,
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the governor's thread could not be started")]
    Governor(#[source] std::io::Error),
    #[error("git cannot be served")]
    Git(#[from] GitError),
    #[error("this program cannot find its own file")]
    Executable(#[source] std::io::Error),
    #[error("a restore into {} was cut off", data.display())]
    HalfRestored { data: PathBuf },
    #[error("a preparation was interrupted")]
    Interrupted,
}

impl UpError {
    /// What whoever started it can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Stack(error) => error.remedy(),
            Self::Tls(error) => error.remedy(),
            Self::Listen { name, .. } => format!(
                "Another program has that port: stop it, or choose another with --set listen.{name}=ADDRESS:PORT."
            ),
            Self::State(StateError::Locked { path, .. }) => format!(
                "End it with `lathe --data {} stop`, or choose another directory with --data.",
                path.display()
            ),
            Self::Engine(error) => error.remedy(),
            Self::HalfRestored { data } => format!(
                "Do it again, whatever is there already: `lathe --data {} rescue restore FILE`.",
                data.display()
            ),
            Self::Data { .. } => "Run as root, or choose another directory with --data.".into(),
            _ => "`lathe doctor` checks the host and says how to mend it.".into(),
        }
    }
}

/// Why there is no last-good record to be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the key cannot be read")]
    Key(#[from] StateError),
    #[error("the record cannot be read")]
    Record(#[from] lathe_dynos::cell::RecordError),
}

/// A platform that is up. Dropping it kills nothing: dynos go on, tasks end with the process.
#[derive(Debug)]
pub struct Running {
    pub config: Arc<Config>,
    pub endpoints: Endpoints,
    /// Or why it cannot be opened, and only what was last served is.
    pub state: Result<Store, String>,
    /// What the cell saw last.
    pub observed: watch::Receiver<Arc<Observed>>,
    engine: Arc<Engine>,
    /// In start order.
    roles: Vec<Role>,
    stop_dynos: watch::Sender<bool>,
    /// Another platform is to take over: that was asked for, or the state can be opened again.
    again: CancellationToken,
    _lock: DataLock,
}

#[derive(Debug)]
struct Role {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Role {
    fn start<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        run: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let stop = CancellationToken::new();
        Self { name, task: tokio::spawn(run(stop.clone())), stop }
    }

    async fn end(self) {
        self.stop.cancel();
        match tokio::time::timeout(STOP_MAX, self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(
                    role = self.name,
                    error = &error as &dyn std::error::Error,
                    "a role panicked"
                );
            }
            Err(_) => tracing::error!(role = self.name, "a role did not end in time"),
        }
    }
}

/// Brings everything up. `progress` hears what takes long.
pub async fn up(
    config: Config,
    progress: impl FnMut(&str) + Send + 'static,
) -> Result<Running, UpError> {
    let config = Arc::new(config);
    if reserve::give_up_if_full(&config) {
        tracing::error!(
            "the disk of {} is full: apps and reads go on, pushes are refused; make room",
            config.data.display()
        );
    }
    if backup::cut_off(&config.data) {
        return Err(UpError::HalfRestored { data: config.data.clone() });
    }
    prepare_data(&config)?;
    let lock = DataLock::take(&config.data)?;
    // A platform that was killed has left its own.
    Endpoints::remove(&config);
    let lathe = std::env::current_exe().map_err(UpError::Executable)?;
    match Store::open(&config.data) {
        Ok(store) => whole(config, lock, &lathe, store, progress).await,
        Err(error) if last_good::helps(&error) => last_good::up(config, lock, &lathe, error).await,
        Err(error) => Err(error.into()),
    }
}

async fn whole(
    config: Arc<Config>,
    lock: DataLock,
    lathe: &Path,
    store: Store,
    progress: impl FnMut(&str) + Send + 'static,
) -> Result<Running, UpError> {
    owner::ensure(&store, &config).await?;
    let system = owner::adopt(&store, config.kept.is_some()).await?;
    let stacks = ensure_stacks(config.clone(), progress).await?;
    let ground = Ground::open(&config, lathe).await?;
    let mut rising = Rising::on(&config, &ground.listeners.endpoints, &ground.engine, lock).await;
    let known = Known { store, system, stacks };
    let raised = raise(&mut rising, config, ground, known, lathe).await;
    rising.settle(raised).await
}

/// What a platform knows when it has its state.
struct Known {
    store: Store,
    system: Option<App>,
    stacks: Arc<stack::Stacks>,
}

async fn raise(
    rising: &mut Rising,
    config: Arc<Config>,
    ground: Ground,
    known: Known,
    lathe: &Path,
) -> Result<Raised, UpError> {
    let Ground { tls, slugs, engine, images, listeners } = ground;
    let Known { store, system, stacks } = known;
    let stop_dynos = rising.stop_dynos();
    let roles = &mut rising.roles;
    let (logs, hub, role) = drains::start(&config, &store).await?;
    roles.extend(role);
    if let Some(app) = system {
        hosting::connect_log(logs.clone(), AppId::new(&app.id));
    }
    let (governor, role) = governor::start(&config, &engine, &logs)?;
    roles.push(role);
    let oneoffs = Arc::new(OneOffs::new(engine.clone(), logs.clone()));
    let (observed_out, observed) = watch::channel(Arc::new(Observed::default()));
    let (asleep_out, asleep) = watch::channel(Arc::default());
    let (routes_out, routes) = watch::channel(Arc::default());
    let endpoints = listeners.endpoints;
    let again = CancellationToken::new();
    let services = Services {
        capacity: engine.capacity(),
        config,
        endpoints,
        store,
        slugs,
        engine,
        images,
        governor,
        oneoffs,
        logs,
        hub,
        stacks,
        known_stacks: Arc::default(),
        observed,
        asleep,
        routed: Routed { published: routes.clone(), in_force: InForce::default() },
        parts: Parts::new(again.clone()),
        started_at: Timestamp::now(),
    };

    let (desired_out, desired) = watch::channel(Arc::default());
    let wires = cell::Wires { desired, observed: observed_out, stop_dynos };
    roles.push(cell::start(&services.config, &services.engine, &services.logs, wires)?);
    let (keyring_out, keyring) = watch::channel(Arc::default());
    roles.push(certify(&services, keyring_out));
    let feed = Feed { routes, keyring };
    let program = hosting::of_router(&services.config).unwrap_or_else(|| lathe.to_owned());
    let (role, busy, demand) =
        router::start(router::Parts::of(&services, &program, listeners.router, feed))?;
    roles.push(role);
    let wires = control::Wires {
        desired: desired_out,
        routes: routes_out,
        busy,
        demand,
        asleep: asleep_out,
        generation_floor: router::generation_floor(&services.config),
    };
    roles.push(decide(&services, wires));
    roles.push(housekeeping::start(&services, &tls));
    roles.push(follow_upgrades(&services, lathe));
    roles.extend(api::start(&services, listeners.doors, &tls).await?);
    let Services { store, observed, .. } = services;
    hosting::say("platform.1", "State changed from starting to up");
    Ok(Raised { state: Ok(store), observed, again })
}

/// The control loop as a role.
fn decide(services: &Services, wires: control::Wires) -> Role {
    let services = services.clone();
    let run = |stop: CancellationToken| control::run(services, wires, stop.cancelled_owned());
    Role::start("control", run)
}

/// What routers are told of certificates.
fn certify(services: &Services, keyring: watch::Sender<Arc<Keyring>>) -> Role {
    let services = services.clone();
    Role::start("certificates", |stop| async move {
        tokio::select! {
            () = certs::run(services, keyring) => {}
            () = stop.cancelled() => {}
        }
    })
}

/// The releases of the platform itself, followed to their ends.
fn follow_upgrades(services: &Services, lathe: &Path) -> Role {
    let (services, lathe) = (services.clone(), lathe.to_owned());
    let run = |stop: CancellationToken| hosting::run(services, lathe, stop.cancelled_owned());
    Role::start("upgrades", run)
}

impl Running {
    /// Until the same program is to begin anew.
    pub async fn again(&self) {
        self.again.cancelled().await;
    }

    /// Stops the roles in reverse order. Dynos run on unless `stop_dynos`.
    pub async fn stop(self, stop_dynos: bool) {
        self.stop_dynos.send_replace(stop_dynos);
        for role in self.roles.into_iter().rev() {
            role.end().await;
        }
        if let Err(error) = self.engine.close(stop_dynos).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the engine did not close");
        }
        Endpoints::remove(&self.config);
    }
}

/// Ends the dynos of a platform that does not run, and removes what the engine made on the host.
pub async fn end_dynos(config: &Config) -> Result<(), UpError> {
    let _lock = DataLock::take(&config.data)?;
    let lathe = std::env::current_exe().map_err(UpError::Executable)?;
    let slugs = cell::slug_opener(&Arc::new(open_slugs(config)?));
    Ok(engine::end_all(config, &lathe, slugs).await?)
}

/// Has the listening sockets closed that are kept for the next platform: none is to come.
pub async fn let_go(config: &Config) -> Result<(), UpError> {
    let dir = cell::engine_dir(config);
    let gone = lathe_dynos::native::let_go(&dir).await;
    gone.map_err(|source| UpError::Data { path: dir, source })
}

/// What the cell would start with no state to tell it.
pub fn last_good_record(config: &Config) -> Result<Option<Desired>, RecordError> {
    let record = Record::new(&cell::engine_dir(config), cell::seal(config)?);
    Ok(record.read()?)
}

/// The route table that was in force last.
pub fn last_routes(config: &Config) -> Option<Routes> {
    router::last(config)
}

/// Whether the cell leaves its dynos or ends them, decided at the moment it is told to stop.
fn stop_of(stop_dynos: &watch::Receiver<bool>) -> Stop {
    if *stop_dynos.borrow() { Stop::StopDynos } else { Stop::LeaveDynos }
}

fn prepare_data(config: &Config) -> Result<(), UpError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let make = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data)?;
        // Secrets and other people's code are below: nobody but the owner looks in.
        std::fs::set_permissions(&config.data, std::fs::Permissions::from_mode(0o700))?;
        ["run", "git", "builds", "cache", "sources"]
            .iter()
            .try_for_each(|name| std::fs::create_dir_all(config.data.join(name)))
    };
    make().map_err(|source| UpError::Data { path: config.data.clone(), source })
}

async fn ensure_stacks(
    config: Arc<Config>,
    mut progress: impl FnMut(&str) + Send + 'static,
) -> Result<Arc<stack::Stacks>, UpError> {
    let made = tokio::task::spawn_blocking(move || stack::ensure(&config, &mut progress));
    Ok(Arc::new(made.await.map_err(|_| UpError::Interrupted)??))
}
