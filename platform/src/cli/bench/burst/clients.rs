//! A thread for all that plays the platform's clients, so that what they take is not taken for its.

use crate::cli::bench::{BenchError, groups};
use std::io;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

pub(super) struct Clients {
    pub(super) handle: Handle,
    runtime: Option<Runtime>,
    thread: u32,
}

impl Clients {
    pub(super) fn start() -> Result<Self, BenchError> {
        let (tell, told) = mpsc::channel();
        // Threads for blocking work come later: nobody listens to them, and none of ours block.
        let note = move || {
            tell.send(rustix::thread::gettid().as_raw_pid().cast_unsigned()).ok();
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("clients")
            .on_thread_start(note)
            .enable_all()
            .build()
            .map_err(BenchError::at("start a thread"))?;
        let thread = told.recv().map_err(io::Error::other);
        let thread = thread.map_err(BenchError::at("find a thread"))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime), thread })
    }

    /// Processor time so far; none where the kernel does not say.
    pub(super) fn spent(&self) -> Option<Duration> {
        groups::cpu_of_thread(self.thread)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // From within another runtime nobody may wait for it.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}
