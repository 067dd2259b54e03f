//! The measured process: the platform's way for a dyno's lines, from the pipe on its standard input
//! to one drain, with ledger and journal; at the end it says where the lines went.

use super::super::BenchError;
use crate::cli::say::say;
use lathe_dynos::output;
use lathe_logs::drain::{Reach, Target};
use lathe_logs::{AppId, Counts, Drain, DrainTable, Hub, Ledger, Policy, counted_channel};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// As many lines as may be under way between the writer and the sink.
const LINES_MAX: usize = 65_536;

pub(in crate::cli::bench) async fn serve(drain: &str) -> Result<(), BenchError> {
    // A URL that is none would be told to the app only.
    drop(drain.parse::<Target>());
    let room = tempfile::tempdir().map_err(BenchError::at("make a directory"))?;
    let ledger = Ledger::open(&room.path().join("ledger"));
    let ledger = ledger.map_err(BenchError::at("open a ledger"))?;
    let (logs, lines) = counted_channel(LINES_MAX, ledger);
    let app = AppId::new("00000000-0000-4000-8000-000000000000");
    let drain = Drain {
        id: "bench".into(),
        app: app.clone(),
        token: "d.00000000-0000-4000-8000-000000000001".into(),
        url: drain.to_owned(),
    };
    let table = DrainTable { generation: 1, drains: vec![drain] };
    let (_table, table) = watch::channel(Arc::new(table));
    let mut policy = Policy::default();
    policy.drain.reach =
        Reach { allowed: "127.0.0.0/8".parse().into_iter().collect(), refused: Vec::new() };
    (policy.drain.lines, policy.drain.bytes) = (LINES_MAX, 1 << 30);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let (hub, run) = Hub::start(lines, Some(room.path().join("journal")), table, policy, shutdown);
    let running = tokio::spawn(run);
    let pipe = io::stdin().as_fd().try_clone_to_owned();
    let pipe = pipe.map_err(BenchError::at("open the pipe"))?;
    let carried = output::carry(pipe, &app, "web.1", &logs).await;
    carried.map_err(BenchError::at("read the pipe"))?;
    drop(logs);
    while hub.counts(&app).drains.values().any(|drain| drain.pending > 0) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(stop);
    drop(running.await);
    let Counts { emitted, dropped, drains, .. } = hub.counts(&app);
    let delivered: u64 = drains.values().map(|drain| drain.delivered).sum();
    let lost: u64 = drains.values().map(|drain| drain.dropped).sum();
    say!("{emitted} {dropped} {delivered} {lost}");
    Ok(())
}
