//! A running hub, and lines to send through it.

use bytes::Bytes;
use jiff::Timestamp;
use lathe_logs::{
    AppId, DrainTable, Filter, Hub, JournalError, Line, Policy, Receiver, Sender, Source, Tail,
    channel,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// No wait in a test takes longer: a bound for what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const ALL: Filter = Filter { source: None, process: None, lines: 1500, after: None };

pub(crate) struct Running {
    pub(crate) hub: Hub,
    pub(crate) lines: Sender,
    pub(crate) table: watch::Sender<Arc<DrainTable>>,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), JournalError>>,
}

pub(crate) fn start(journal: Option<PathBuf>, policy: Policy) -> Running {
    let (lines, receiver) = channel(4096);
    start_with(lines, receiver, journal, policy)
}

pub(crate) fn start_with(
    lines: Sender,
    receiver: Receiver,
    journal: Option<PathBuf>,
    policy: Policy,
) -> Running {
    start_draining(lines, receiver, journal, policy, DrainTable::default())
}

/// With drains that are known before the first line.
pub(crate) fn start_draining(
    lines: Sender,
    receiver: Receiver,
    journal: Option<PathBuf>,
    policy: Policy,
    drains: DrainTable,
) -> Running {
    let (table, drains) = watch::channel(Arc::new(drains));
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { drop(stopped.await) };
    let (hub, run) = Hub::start(receiver, journal, drains, policy, shutdown);
    Running { hub, lines, table, stop, run: tokio::spawn(run) }
}

impl Running {
    /// The end that `kill -9` makes: nothing is finished, nothing is written any more.
    pub(crate) async fn kill(self) {
        self.run.abort();
        assert!(self.run.await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.run.await.unwrap().unwrap();
    }
}

pub(crate) fn line(app: &AppId, text: &(impl ToString + ?Sized)) -> Line {
    Line {
        app: app.clone(),
        time: Timestamp::UNIX_EPOCH,
        source: Source::App,
        process: Arc::from("web.1"),
        text: Bytes::from(text.to_string()),
    }
}

pub(crate) async fn next(tail: &mut Tail) -> String {
    let next = tokio::time::timeout(PATIENCE, tail.next()).await;
    String::from_utf8(next.unwrap().unwrap().line.text.to_vec()).unwrap()
}

pub(crate) async fn rest(mut tail: Tail) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(entry) = tail.next().await {
        texts.push(String::from_utf8(entry.line.text.to_vec()).unwrap());
    }
    texts
}
