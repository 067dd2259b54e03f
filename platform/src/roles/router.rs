//! The router role: requests in, dynos out, by the table that the control loop publishes.

use super::Role;
use crate::config::Config;
use crate::endpoints::Endpoints;
use jiff::Timestamp;
use lathe_router::{Demand, InFlight, RouterConfig, Routes};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Which dynos have requests in flight.
pub(super) type Busy = Box<dyn Fn() -> BTreeSet<String> + Send + Sync>;

fn last_table(config: &Config) -> PathBuf {
    config.data.join("cell/routes.json")
}

/// The table that was in force last, if there is one that can be read.
pub(super) fn last(config: &Config) -> Option<Routes> {
    lathe_router::saved_routes(&last_table(config))
}

/// Above every table ever published: the clock, and the saved table should the clock have gone back.
pub(super) fn generation_floor(config: &Config) -> u64 {
    let clock = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    clock.max(last(config).map_or(0, |saved| saved.generation + 1))
}

pub(super) fn start(
    platform: &Config,
    endpoints: &Endpoints,
    logs: &lathe_logs::Sender,
    listener: TcpListener,
    routes: watch::Receiver<Arc<Routes>>,
) -> (Role, Busy, Demand) {
    let (in_flight, demand) = (InFlight::default(), Demand::default());
    let config = Arc::new(RouterConfig {
        public_port: endpoints.router.port(),
        last_table: Some(last_table(platform)),
        in_flight: in_flight.clone(),
        demand: demand.clone(),
        ..RouterConfig::default()
    });
    let logs = logs.clone();
    let role = Role::start("router", |stop| async move {
        if let Err(error) =
            lathe_router::run(listener, routes, logs, config, stop.cancelled_owned()).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the router ended");
        }
    });
    (role, Box::new(move || in_flight.dynos()), demand)
}
