//! The router role: requests in, dynos out, by the table that the control loop publishes.
//!
//! The router is a dyno of the platform's own app, so that it goes on when this process ends,
//! however it ends; or, where the operator wants it so, a part of this process.

mod apart;
mod dyno;
mod plan;

pub(super) use dyno::listener;

use super::listeners::RouterDoors;
use super::{Role, UpError};
use crate::config::{Config, RouterPlace};
use crate::endpoints::Endpoints;
use crate::engine::Engine;
use crate::hosting;
use crate::services::Services;
use jiff::Timestamp;
use lathe_router::{Demand, Doors, Feed, InFlight, InForce, LastFile, RouterConfig, Routes};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which dynos have requests in flight.
pub(super) type Busy = Box<dyn Fn() -> BTreeSet<String> + Send + Sync>;

/// What a router is made from.
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) endpoints: &'a Endpoints,
    pub(super) logs: &'a lathe_logs::Sender,
    pub(super) engine: &'a Arc<Engine>,
    /// The program of its dyno.
    pub(super) lathe: &'a Path,
    /// Where its dyno finds libraries.
    pub(super) stack: Option<&'a Path>,
    pub(super) doors: RouterDoors,
    pub(super) feed: Feed,
    /// Where is said which table applies.
    pub(super) in_force: &'a InForce,
    /// Where is said what routers there are, and asked for others.
    pub(super) hosted: &'a hosting::Parts,
}

impl<'a> Parts<'a> {
    pub(super) fn of(
        services: &'a Services,
        lathe: &'a Path,
        doors: RouterDoors,
        feed: Feed,
    ) -> Self {
        let Services { config, endpoints, logs, engine, stacks, parts, routed, .. } = services;
        let (stack, in_force) = (Some(&*stacks.run.root), &routed.in_force);
        Self { config, endpoints, logs, engine, lathe, stack, doors, feed, in_force, hosted: parts }
    }
}

fn last_table(config: &Config) -> PathBuf {
    dyno::shown(config).join(dyno::TABLE)
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

pub(super) fn start(parts: Parts<'_>) -> Result<(Role, Busy, Demand), UpError> {
    let shown = dyno::shown(parts.config);
    let made = std::fs::create_dir_all(&shown);
    made.map_err(|source| UpError::Data { path: shown, source })?;
    match (parts.config.router, parts.stack) {
        (RouterPlace::Apart, Some(stack)) => apart::start(&parts, stack),
        _ => Ok(inside(parts)),
    }
}

/// As a part of this process; a router of a dyno makes room for it.
fn inside(parts: Parts<'_>) -> (Role, Busy, Demand) {
    let Parts { config, endpoints, logs, engine, doors, feed, in_force, hosted, .. } = parts;
    let (in_flight, demand) = (InFlight::default(), Demand::default());
    let config = Arc::new(RouterConfig {
        public_port: endpoints.router.port(),
        public_tls_port: endpoints.router_tls.port(),
        last_table: Some(LastFile::Kept(last_table(config))),
        last_keyring: Some(LastFile::Kept(config.keyring())),
        in_force: in_force.clone(),
        in_flight: in_flight.clone(),
        demand: demand.clone(),
        ..RouterConfig::default()
    });
    let (logs, engine, hosted) = (logs.clone(), Arc::clone(engine), hosted.clone());
    hosted.see_routers(Vec::new());
    let role = Role::start("router", |stop| async move {
        dyno::relieve_all(&engine).await;
        let stop = stop.cancelled_owned();
        let doors = Doors { plain: doors.plain, tls: Some(doors.tls) };
        let routing = async {
            if let Err(error) = lathe_router::run(doors, feed, logs, config, stop).await {
                tracing::error!(error = &error as &dyn std::error::Error, "the router ended");
            }
        };
        tokio::select! {
            () = routing => {}
            () = hosted.carry_out(|| {}) => {}
        }
    });
    (role, Box::new(move || in_flight.dynos()), demand)
}
