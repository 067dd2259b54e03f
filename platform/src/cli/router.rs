//! `lathe router`: the program of the router's dyno. It serves by the last table there is, whether or
//! not there is a platform to send it another.

use super::CliError;
use crate::inherited;
use clap::Args;
use lathe_logs::{Ledger, counted_channel};
use lathe_router::link::{Cable, Life};
use lathe_router::{Doors, Feed, LastFile, RouterConfig, RouterError, Successor};
use std::fs::File;
use std::io;
use std::net::TcpListener as StdListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use uuid::Uuid;

/// Lines that wait for the platform.
const QUEUE_LINES_MAX: usize = 65_536;

/// A router that was relieved finishes what it has: a tunnel lasts as long as its client wants, but not
/// for ever.
const GRACE: Duration = Duration::from_hours(1);

/// What it is started with, beside descriptors: its listening sockets, plain and for TLS, and the
/// file in which it counts the lines it writes.
#[derive(Debug, Args)]
pub(super) struct Router {
    /// Its identity
    name: Uuid,
    /// The socket of the platform
    #[arg(long)]
    link: PathBuf,
    /// The last route table
    #[arg(long)]
    table: PathBuf,
    /// The last keyring
    #[arg(long)]
    keyring: PathBuf,
    /// What clients are told
    #[arg(long)]
    public_port: u16,
    #[arg(long)]
    public_tls_port: u16,
    /// What of its own log is written
    #[arg(long)]
    log: String,
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum RouterVerbError {
    #[error("its listening sockets and its ledger are not there")]
    Descriptors(#[source] io::Error),
    #[error("threads could not be started")]
    Threads(#[source] io::Error),
    #[error("signals cannot be listened for")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Router(#[from] RouterError),
}

pub(super) fn route(what: Router) -> Result<(), CliError> {
    let inherited = inherited::take().map_err(RouterVerbError::Descriptors)?;
    super::init_log(&what.log);
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.enable_all().build().map_err(RouterVerbError::Threads)?;
    // Not on this thread: the others would have to wake it for every client.
    let serving = runtime.spawn(serve(what, inherited));
    let served = runtime.block_on(serving);
    Ok(served.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}

async fn serve(what: Router, inherited: [File; 3]) -> Result<(), RouterVerbError> {
    let [plain, tls, ledger] = inherited;
    let mut terminate = signal(SignalKind::terminate()).map_err(RouterVerbError::Signals)?;
    let adopted = |socket| adopt(socket).map_err(RouterVerbError::Descriptors);
    let doors = Doors { plain: adopted(plain)?, tls: Some(adopted(tls)?) };
    let ledger = Ledger::of(ledger).map_err(RouterVerbError::Descriptors)?;
    let (logs, lines) = counted_channel(QUEUE_LINES_MAX, ledger);
    let config = RouterConfig {
        public_port: what.public_port,
        public_tls_port: what.public_tls_port,
        last_table: Some(LastFile::Given(what.table)),
        last_keyring: Some(LastFile::Given(what.keyring)),
        shutdown_grace: GRACE,
        successor: Successor::Present,
        ..RouterConfig::default()
    };
    let (tables_in, routes) = watch::channel(Arc::default());
    let (keyrings_in, keyring) = watch::channel(Arc::default());
    let cable = Cable {
        path: what.link,
        router: what.name.to_string(),
        tables: tables_in,
        keyrings: keyrings_in,
        lines,
        in_flight: config.in_flight.clone(),
        in_force: config.in_force.clone(),
        demand: config.demand.clone(),
    };
    let life = watch::Sender::new(Life::Serving);
    let held = tokio::spawn(cable.hold(life.subscribe()));
    let leave = async {
        terminate.recv().await;
        life.send_replace(Life::Leaving);
    };
    let feed = Feed { routes, keyring };
    let ended = lathe_router::run(doors, feed, logs, Arc::new(config), leave).await;
    life.send_replace(Life::Over);
    // A panic in it has been told already.
    drop(held.await);
    Ok(ended?)
}

fn adopt(listener: File) -> io::Result<TcpListener> {
    let listener = StdListener::from(OwnedFd::from(listener));
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
