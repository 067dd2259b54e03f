//! The logs role: the hub, and the drain table it is fed from the state.

use super::Role;
use crate::config::Config;
use crate::state::{Store, drains};
use lathe_logs::{AppId, Drain, DrainTable, Hub, Policy, Receiver};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Starts the hub and its feeder; the hub ends last, after it has spooled what it holds.
pub(super) fn start(config: &Config, store: &Store, lines: Receiver) -> (Hub, [Role; 2]) {
    let (table_out, table) = watch::channel(Arc::new(DrainTable::default()));
    let mut policy = Policy { ring_lines: config.logs.ring_lines, ..Policy::default() };
    policy.drain.reach.allowed.clone_from(&config.drains.allow);
    let stop = CancellationToken::new();
    let spool = Some(config.data.join("logs.spool"));
    let (hub, run) = Hub::start(lines, spool, table, policy, stop.clone().cancelled_owned());
    let task = tokio::spawn(async move {
        if let Err(error) = run.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the log rings could not be spooled"
            );
        }
    });
    let hub_role = Role { name: "logs", stop, task };
    let store = store.clone();
    let feeder = Role::start("drain table", |stop| feed(store, table_out, stop));
    (hub, [hub_role, feeder])
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
