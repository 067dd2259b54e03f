//! What the platform knows: one `SQLite` file, one writer, nothing acknowledged that is not on disk.
//!
//! WAL with `synchronous=FULL`: the only setting that lost no acknowledged commit in power cuts.

pub mod accounts;
pub mod acm;
pub mod apps;
mod batch;
pub mod buildpacks;
pub mod builds;
pub mod care;
pub mod certificates;
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
pub mod restarts;
mod schema;
pub mod secrets;
pub mod slugs;
pub mod sources;
mod statements;
mod steps;
pub mod system;
mod tally;
mod writer;

#[cfg(test)]
mod tests;

pub use copied::Copied;
pub use error::StateError;
pub use schema::{Health, SCHEMA, examine};
pub use statements::Statements;
pub use tally::Tally;

use batch::{Change, Job};
use jiff::Timestamp;
use secrets::Secrets;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use writer::Writer;

/// How many operations may wait for the writer before callers wait for a place.
const QUEUE_MAX: usize = 1024;

/// A cheap handle on the state. Every operation runs on the one thread that owns the file.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    news: Arc<News>,
}

/// How often something was written: who waits for it learns of every change.
#[derive(Debug, Default)]
struct News {
    of_all: watch::Sender<u64>,
    of_apps: watch::Sender<u64>,
}

/// One operation: all of it or nothing. Time is part of what goes in.
#[derive(Debug)]
pub struct Tx<'a> {
    pub sql: Statements<'a>,
    pub secrets: &'a Secrets,
    pub now: Timestamp,
}

impl Store {
    /// Opens or creates the state below `dir`, checks it, and brings its schema up to date.
    ///
    /// # Errors
    /// A damaged file is refused and left as it is; so is a schema newer than this program.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let writer = Writer::open(dir)?;
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE_MAX);
        let news = Arc::<News>::default();
        let told = news.clone();
        std::thread::Builder::new()
            .name("state".into())
            .spawn(move || batch::serve(writer, queue, &told))
            .map_err(StateError::Thread)?;
        Ok(Self { jobs, news })
    }

    /// Opens a state that another process may serve: as it is, or not at all.
    ///
    /// # Errors
    /// As `open`; and an older schema is refused, which that process may need.
    pub fn attach(dir: &Path) -> Result<Self, StateError> {
        schema::check_current(&dir.join("state.db"))?;
        Self::open(dir)
    }

    /// Does all of `work` or nothing of it, and answers when it is durable. Watchers are woken
    /// before.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Job::Write(Box::new(Change::new(work, answer)))).await?;
        answered.await.map_err(|_| StateError::Closed)?
    }

    /// Runs `work` on one consistent view; it cannot change anything.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (answer, answered) = oneshot::channel();
        let read = move |writer: &mut Writer| drop(answer.send(writer.read(work)));
        self.ask(Job::Read(Box::new(read))).await?;
        answered.await.map_err(|_| StateError::Closed)?
    }

    /// Grows with what is written; wait on it to see every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.news.of_all.subscribe()
    }

    /// As `changes`, without writes that only tell what one-off dynos do.
    pub fn changes_of_apps(&self) -> watch::Receiver<u64> {
        self.news.of_apps.subscribe()
    }

    /// Operations that wait for the thread.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    async fn ask(&self, job: Job) -> Result<(), StateError> {
        self.jobs.send(job).await.map_err(|_| StateError::Closed)
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
