//! A platform whose state cannot be opened: apps serve on, and the API says why it does not.
//!
//! The cell starts and keeps every dyno of its last-good record, the router sends to where they are
//! now. Nothing is written that the state would have to know of. When the state can be opened again
//! (mended, unlocked, restored) this platform ends, so that a whole one takes over from it.

use super::ground::Ground;
use super::rising::{Raised, Rising};
use super::serve::serve;
use super::{Role, Running, UpError, cell, drains, governor, router};
use crate::causes::causes;
use crate::config::Config;
use crate::control::last_good::reroute;
use crate::hosting::{self, Parts};
use crate::stack;
use crate::state::lock::DataLock;
use crate::state::{self, Health, StateError};
use axum::Json;
use axum::http::StatusCode;
use lathe_dynos::spec::Observed;
use lathe_router::{Feed, InForce, Routes};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two looks at the state file.
const LOOK: Duration = Duration::from_secs(1);
/// The whole file is read again this often even when nothing seems to have changed: a lock leaves
/// no trace on it.
const LOOKS_BETWEEN_CHECKS: u32 = 10;

/// Whether apps can be served in spite of it.
pub(super) fn helps(error: &StateError) -> bool {
    // A newer state wants another program than this, which is to be started instead.
    matches!(error, StateError::Damaged { .. } | StateError::Open { .. } | StateError::Database(_))
}

pub(super) async fn up(
    config: Arc<Config>,
    lock: DataLock,
    lathe: &Path,
    why: StateError,
) -> Result<Running, UpError> {
    tracing::error!(
        error = &why as &dyn std::error::Error,
        "the state cannot be opened: apps are served as they last were, and nothing can be changed"
    );
    let ground = Ground::open(&config, lathe).await?;
    let mut rising = Rising::on(&config, &ground.listeners.endpoints, &ground.engine, lock).await;
    let raised = raise(&mut rising, &config, ground, lathe, &why);
    rising.settle(raised).await
}

fn raise(
    rising: &mut Rising,
    config: &Config,
    ground: Ground,
    lathe: &Path,
    why: &StateError,
) -> Result<Raised, UpError> {
    let Ground { tls, engine, listeners, .. } = ground;
    let secure = tls.server_config()?;
    let endpoints = listeners.endpoints;
    let again = CancellationToken::new();
    let stop_dynos = rising.stop_dynos();
    let roles = &mut rising.roles;
    let (logs, _hub, role) = drains::hub(config, watch::channel(Arc::default()).1);
    roles.push(role);
    let (_governor, role) = governor::start(config, &engine, &logs)?;
    roles.push(role);
    let (observed_out, observed) = watch::channel(Arc::new(Observed::default()));
    // Nobody says what shall run: the record counts.
    let (_, desired) = watch::channel(Arc::default());
    let wires = cell::Wires { desired, observed: observed_out, stop_dynos };
    roles.push(cell::start(config, &engine, &logs, wires)?);
    let (routes_out, routes) = watch::channel(Arc::default());
    let last = router::last(config).unwrap_or_default();
    let stacks = stack::list(config).unwrap_or_default();
    let newest = stacks.iter().find(|(stack, _)| stack.name == stack::RUN);
    let program = hosting::of_router(config).unwrap_or_else(|| lathe.to_owned());
    let (role, ..) = router::start(router::Parts {
        config,
        endpoints: &endpoints,
        logs: &logs,
        engine: &engine,
        lathe: &program,
        hosted: &Parts::new(again.clone()),
        stack: newest.map(|(stack, _)| &*stack.root),
        doors: listeners.router,
        // Nobody says what the certificates are: routers have a file.
        feed: Feed { routes, keyring: watch::channel(Arc::default()).1 },
        in_force: &InForce::default(),
    })?;
    roles.push(role);
    let (floor, seen) = (router::generation_floor(config), observed.clone());
    roles.push(Role::start("routes", |stop| follow(last, floor, seen, routes_out, stop)));
    roles.push(Role::start("state", {
        let (path, mended) = (config.data.join("state.db"), again.clone());
        |stop| async move {
            tokio::select! {
                () = sound(path) => mended.cancel(),
                () = stop.cancelled() => {}
            }
        }
    }));
    let doors = listeners.doors;
    let app = refusing(why);
    roles.push(Role::start("api", |stop| serve(doors.tls, Some(secure), app.clone(), stop)));
    roles.push(Role::start("api on loopback", |stop| serve(doors.plain, None, app, stop)));
    roles.push(Role::start("rendezvous", |stop| turn_away(doors.rendezvous, stop)));
    Ok(Raised { state: Err(causes(why)), observed, again })
}

/// Keeps the table on the dynos as they come up.
async fn follow(
    last: Routes,
    floor: u64,
    mut observed: watch::Receiver<Arc<Observed>>,
    routes: watch::Sender<Arc<Routes>>,
    stop: CancellationToken,
) {
    let mut generation = floor;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            changed = observed.changed() => if changed.is_err() { break },
        }
        generation += 1;
        let table = reroute(&last, &observed.borrow_and_update());
        routes.send_replace(Arc::new(Routes { generation, ..table }));
    }
}

/// One answer to everything, in the API's form. Git shows the status.
fn refusing(why: &StateError) -> axum::Router {
    let message = format!(
        "Apps are served, and nothing can be changed: {}. On the server, `lathe rescue` says what \
         can be done.",
        causes(why)
    );
    let body = json!({"id": "service_unavailable", "message": message});
    let answer = move || async move { (StatusCode::SERVICE_UNAVAILABLE, Json(body)) };
    axum::Router::new().fallback(answer)
}

/// One-offs need the state; a client that meets no one sees at once that there is none.
async fn turn_away(listener: TcpListener, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(client) => drop(client),
                Err(_) => tokio::time::sleep(LOOK).await,
            },
        }
    }
}

/// Waits until the state can be opened.
async fn sound(path: PathBuf) {
    let (mut seen, mut looks) = (trace(&path), 0);
    loop {
        tokio::time::sleep(LOOK).await;
        looks += 1;
        let now = trace(&path);
        if now == seen && looks % LOOKS_BETWEEN_CHECKS != 0 {
            continue;
        }
        seen = now;
        let file = path.clone();
        let health = tokio::task::spawn_blocking(move || state::examine(&file)).await;
        // One without a schema is just being written: the next platform would make it a new one.
        if matches!(health, Ok(Health::Sound { schema: 1.. })) {
            return;
        }
    }
}

/// What changes when somebody changes the file.
fn trace(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let about = fs::metadata(path).ok()?;
    Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}
