//! A thread for all that plays the platform's clients, so that what they take is not taken for its.

use crate::cli::bench::{BenchError, groups};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

pub(super) struct Clients {
    pub(super) handle: Handle,
    runtime: Option<Runtime>,
    thread: Arc<AtomicI32>,
}

impl Clients {
    pub(super) fn start() -> Result<Self, BenchError> {
        let thread = Arc::new(AtomicI32::new(0));
        let here = Arc::clone(&thread);
        let note = move || here.store(rustix::thread::gettid().as_raw_pid(), Ordering::Relaxed);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("clients")
            .on_thread_start(note)
            .enable_all()
            .build()
            .map_err(BenchError::at("start a thread"))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime), thread })
    }

    /// Processor time so far.
    pub(super) fn spent(&self) -> Duration {
        let thread = self.thread.load(Ordering::Relaxed).cast_unsigned();
        groups::cpu_of_thread(thread).unwrap_or_default()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // From within another runtime nobody may wait for it.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}
