//! What the platform knows: one `SQLite` file, one writer, nothing acknowledged that is not on disk.
//!
//! WAL with `synchronous=FULL`: the only setting that lost no acknowledged commit in power cuts.

pub mod accounts;
pub mod apps;
pub mod buildpacks;
pub mod builds;
pub mod care;
mod copied;
pub mod domains;
pub mod drains;
mod error;
pub mod features;
pub mod formation;
pub mod lock;
pub mod model;
pub mod oneoffs;
pub mod releases;
mod schema;
pub mod secrets;
pub mod slugs;
pub mod sources;
mod steps;
pub mod system;
mod tally;
mod writer;

#[cfg(test)]
mod tests;

pub use copied::Copied;
pub use error::StateError;
pub use schema::{Health, SCHEMA, examine};
pub use tally::Tally;

use jiff::Timestamp;
use rusqlite::Transaction;
use secrets::Secrets;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use writer::Writer;

/// How many operations may wait for the writer before callers wait for a place.
const QUEUE_MAX: usize = 1024;

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// A cheap handle on the state. Every operation runs on the one thread that owns the file.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    changed: Arc<watch::Sender<u64>>,
    apps_changed: Arc<watch::Sender<u64>>,
}

/// One transaction: all of it or nothing. Time is part of what goes in.
#[derive(Debug)]
pub struct Tx<'a> {
    pub sql: Transaction<'a>,
    pub secrets: &'a Secrets,
    pub now: Timestamp,
}

impl Store {
    /// Opens or creates the state below `dir`, checks it, and brings its schema up to date.
    ///
    /// # Errors
    /// A damaged file is refused and left as it is; so is a schema newer than this program.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let mut writer = Writer::open(dir)?;
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE_MAX);
        std::thread::Builder::new()
            .name("state".into())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut writer);
                }
            })
            .map_err(StateError::Thread)?;
        let (changed, apps_changed) = (Arc::default(), Arc::default());
        Ok(Self { jobs, changed, apps_changed })
    }

    /// Runs `work` in one transaction and answers when it is durable. Watchers are woken after.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let write = |writer: &mut Writer| Ok((writer.write(work)?, writer.take_apps_touched()));
        let (result, of_apps) = self.call(write).await?;
        self.changed.send_modify(|generation| *generation += 1);
        if of_apps {
            self.apps_changed.send_modify(|generation| *generation += 1);
        }
        Ok(result)
    }

    /// Runs `work` on one consistent view; it cannot change anything.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        self.call(|writer| writer.read(work)).await
    }

    /// Counts committed writes; wait on it to see every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// As `changes`, without writes that only tell what one-off dynos do.
    pub fn changes_of_apps(&self) -> watch::Receiver<u64> {
        self.apps_changed.subscribe()
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |writer| {
            // The caller may have gone; the work is done all the same.
            drop(answer.send(work(writer)));
        });
        self.jobs.send(job).await.map_err(|_| StateError::Closed)?;
        answered.await.map_err(|_| StateError::Closed)?
    }
}

/// As precise as it is stored, so that what was just made reads as it will be read again.
fn now() -> Timestamp {
    time(ms(Timestamp::now()))
}

/// Unix milliseconds, as times are stored.
fn ms(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// A stored time; one out of range (a damaged row) reads as the epoch.
fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}
