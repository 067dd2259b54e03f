//! The measured process: the router as `router = "inside"` has it, with the log hub, its ledger and
//! its journal, in front of one dyno. Where the router is a dyno, its lines take one way more.

use super::super::BenchError;
use super::HOST;
use crate::cli::say::say;
use lathe_logs::{AppId, DrainTable, Hub, Ledger, Policy, counted_channel};
use lathe_router::{AppRoute, Availability, Doors, Feed, RouterConfig, Routes, Target};
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// As the platform's.
const LINES_MAX: usize = 65_536;

/// Says its port on standard output, and ends with it: when nobody listens to it any more.
pub(in crate::cli::bench) async fn serve(backend: SocketAddr) -> Result<(), BenchError> {
    let room = tempfile::tempdir().map_err(BenchError::at("make a directory"))?;
    let ledger = Ledger::open(&room.path().join("ledger"));
    let ledger = ledger.map_err(BenchError::at("open a ledger"))?;
    let (logs, lines) = counted_channel(LINES_MAX, ledger);
    let (_drains, drains) = watch::channel(Arc::new(DrainTable::default()));
    let journal = Some(room.path().join("journal"));
    let (hub, run) = Hub::start(lines, journal, drains, Policy::default(), pending::<()>());
    let hub_runs = tokio::spawn(run);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.map_err(BenchError::at("listen"))?;
    let port = listener.local_addr().map_err(BenchError::at("listen"))?.port();
    let app = AppId::new("00000000-0000-4000-8000-000000000000");
    let (_table, routes) = watch::channel(Arc::new(routes(&app, backend)));
    let (_keyring, keyring) = watch::channel(Arc::default());
    let (doors, feed) = (Doors { plain: listener, tls: None }, Feed { routes, keyring });
    let config = RouterConfig { backlog_per_dyno: usize::MAX, ..RouterConfig::default() };
    let serving = lathe_router::run(doors, feed, logs, Arc::new(config), ended());
    let serving = tokio::spawn(serving);
    say!("{port}");
    let ended = serving.await.map_err(std::io::Error::other);
    ended
        .and_then(|ended| ended.map_err(std::io::Error::other))
        .map_err(BenchError::at("route"))?;
    // The router's handle was the last one: the hub takes the rest of the lines, and ends.
    let hub_ended = hub_runs.await.map_err(std::io::Error::other);
    hub_ended
        .and_then(|ended| ended.map_err(std::io::Error::other))
        .map_err(BenchError::at("log"))?;
    let counts = hub.counts(&app);
    say!("{} {}", counts.emitted, counts.dropped);
    Ok(())
}

/// The measurement closes our standard input.
async fn ended() {
    let mut nothing = [0];
    let mut stdin = tokio::io::stdin();
    while tokio::io::AsyncReadExt::read(&mut stdin, &mut nothing).await.is_ok_and(|read| read > 0) {
    }
}

fn routes(app: &AppId, backend: SocketAddr) -> Routes {
    let target = Target {
        dyno: "00000000-0000-4000-8000-000000000001".into(),
        name: "web.1".into(),
        address: backend,
        weight: 1,
    };
    let route = AppRoute {
        name: "bench".into(),
        availability: Availability::Serving,
        release: 1,
        targets: vec![target],
    };
    Routes {
        generation: 1,
        hosts: [(HOST.to_owned(), app.clone())].into(),
        apps: [(app.clone(), Arc::new(route))].into(),
    }
}
