//! What waits for the state's one thread. Writes that wait together share a transaction and its one
//! sync, and are answered after it; each is whole or not there, whatever becomes of the others.
//!
//! Reads go first: what is not acknowledged yet, they need not see.

use super::writer::{Lost, Writer, is_of_the_disk};
use super::{News, StateError, Tx};
use std::fmt;
use tokio::sync::{mpsc, oneshot};

/// How many operations one transaction may keep waiting.
const JOBS_MAX: usize = 128;

/// One operation.
pub(super) enum Job {
    Read(Box<dyn FnOnce(&mut Writer) + Send>),
    Write(Box<dyn Write>),
}

/// A write on its way: done in a transaction that it may share, and answered when that is over.
pub(super) trait Write: Send {
    /// Does it.
    fn make(&mut self, tx: &Tx<'_>) -> Made;
    /// Tells its caller.
    fn answer(self: Box<Self>, over: Result<(), Lost>);
}

/// What is to become of what a write has done.
pub(super) enum Made {
    Kept,
    Undone,
    /// Nothing can be said of the whole transaction.
    DiskFailed(rusqlite::Error),
}

/// A write with its caller.
pub(super) struct Change<W, T> {
    work: Option<W>,
    made: Result<T, StateError>,
    answer: oneshot::Sender<Result<T, StateError>>,
}

impl<W, T> Change<W, T> {
    pub(super) fn new(work: W, answer: oneshot::Sender<Result<T, StateError>>) -> Self {
        Self { work: Some(work), made: Err(StateError::Closed), answer }
    }
}

impl<W, T> Write for Change<W, T>
where
    W: FnOnce(&Tx<'_>) -> Result<T, StateError> + Send,
    T: Send,
{
    fn make(&mut self, tx: &Tx<'_>) -> Made {
        let Some(work) = self.work.take() else { return Made::Undone };
        match work(tx) {
            Err(StateError::Database(source)) if is_of_the_disk(&source) => {
                Made::DiskFailed(source)
            }
            made => {
                self.made = made;
                if self.made.is_ok() { Made::Kept } else { Made::Undone }
            }
        }
    }

    fn answer(self: Box<Self>, over: Result<(), Lost>) {
        // The caller may have gone; the work is done all the same.
        drop(self.answer.send(over.map_err(StateError::from).and(self.made)));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read(_) => "Read",
            Self::Write(_) => "Write",
        })
    }
}

/// Does what is asked until nobody is left to ask.
pub(super) fn serve(mut writer: Writer, mut queue: mpsc::Receiver<Job>, news: &News) {
    while let Some(first) = queue.blocking_recv() {
        let others = std::iter::from_fn(|| queue.try_recv().ok());
        let mut batch = Vec::new();
        for job in std::iter::once(first).chain(others).take(JOBS_MAX) {
            match job {
                Job::Read(read) => read(&mut writer),
                Job::Write(write) => batch.push(write),
            }
        }
        if batch.is_empty() {
            continue;
        }
        let over = writer.write(&mut batch);
        if over.is_ok() {
            let more = |generation: &mut u64| *generation += 1;
            news.of_all.send_modify(more);
            if writer.take_apps_touched() {
                news.of_apps.send_modify(more);
            }
        }
        for write in batch {
            write.answer(over.clone());
        }
    }
}
