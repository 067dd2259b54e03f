//! The logs role: the hub, and the drain table it is fed from the state.

use super::Role;
use crate::config::Config;
use crate::host::addresses;
use crate::state::{StateError, Store, drains};
use lathe_logs::drain::{Network, Reach};
use lathe_logs::{
    AppId, Drain, DrainTable, Hub, Ledger, Policy, Receiver, Sender, channel, counted_channel,
};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Lines that wait for the hub.
const QUEUE_LINES_MAX: usize = 65_536;

/// Starts the hub and its feeder; the hub ends last, after its journal is on disk. The first table
/// is there before the first line is.
pub(super) async fn start(
    config: &Config,
    store: &Store,
) -> Result<(Sender, Hub, [Role; 2]), StateError> {
    let (table_out, table) = watch::channel(Arc::new(DrainTable::default()));
    publish(&table_out, store.read(drains::all).await?);
    let (sender, hub, hub_role) = hub(config, table);
    let store = store.clone();
    let feeder = Role::start("drain table", |stop| feed(store, table_out, stop));
    Ok((sender, hub, [hub_role, feeder]))
}

/// The hub alone, with the drains of a table that somebody feeds or nobody.
pub(super) fn hub(config: &Config, table: watch::Receiver<Arc<DrainTable>>) -> (Sender, Hub, Role) {
    let (sender, lines) = door(&config.data.join("logs.ledger"));
    let mut policy = Policy { ring_lines: config.logs.ring_lines, ..Policy::default() };
    policy.drain.roots.clone_from(&config.drains.authorities);
    policy.drain.reach = reach(config);
    let stop = CancellationToken::new();
    let journal = Some(config.data.join("logs.journal"));
    let (hub, run) = Hub::start(lines, journal, table, policy, stop.clone().cancelled_owned());
    let task = tokio::spawn(async move {
        if let Err(error) = run.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the log rings could not be spooled"
            );
        }
    });
    (sender, hub, Role { name: "logs", stop, task })
}

/// Public addresses, and what the operator allows; this machine's own only if it is among that.
fn reach(config: &Config) -> Reach {
    let allowed = config.drains.allow.clone();
    let own = addresses::of_this_machine().unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine's addresses cannot be read: a drain might lead to it");
        Vec::new()
    });
    let allows = |address: &IpAddr| allowed.iter().any(|network| network.contains(*address));
    let refused = own.into_iter().filter(|address| !allows(address)).map(Network::from).collect();
    Reach { allowed, refused }
}

/// The way into the hub, counted in the file at `ledger`; uncounted where that cannot be had, on a
/// full disk say: the log matters more than its count.
fn door(ledger: &Path) -> (Sender, Receiver) {
    match Ledger::open(ledger) {
        Ok(ledger) => counted_channel(QUEUE_LINES_MAX, ledger),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "log lines are not counted: {} cannot be opened",
                ledger.display()
            );
            channel(QUEUE_LINES_MAX)
        }
    }
}

/// Publishes the complete table after each change of the state.
async fn feed(store: Store, table: watch::Sender<Arc<DrainTable>>, stop: CancellationToken) {
    let mut changes = store.changes();
    loop {
        match store.read(drains::all).await {
            Ok(drains) => publish(&table, drains),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "drains could not be read"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            change = changes.changed() => if change.is_err() { break },
        }
    }
}

fn publish(table: &watch::Sender<Arc<DrainTable>>, drains: Vec<crate::state::model::Drain>) {
    let drains: Vec<Drain> = drains
        .into_iter()
        .map(|drain| Drain {
            id: drain.id,
            app: AppId::new(&drain.app),
            token: drain.token,
            url: drain.url,
        })
        .collect();
    table.send_if_modified(|last| {
        let changed = last.drains != drains || last.generation == 0;
        if changed {
            *last = Arc::new(DrainTable { generation: last.generation + 1, drains });
        }
        changed
    });
}
