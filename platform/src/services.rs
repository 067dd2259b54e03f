//! What every part of the control plane works with, made once at start.

use crate::config::Config;
use crate::control::routed::Routed;
use crate::endpoints::Endpoints;
use crate::engine::{AppImages, Engine};
use crate::hosting::Parts;
use crate::stack::{self, Known, Stacks};
use crate::state::Store;
use bytes::Bytes;
use jiff::Timestamp;
use lathe_dynos::class::Capacity;
use lathe_dynos::governor::Governor;
use lathe_dynos::oneoff::OneOffs;
use lathe_dynos::spec::Observed;
use lathe_logs::{AppId, Line, Source};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Cheap to clone; all parts share the same state, store, engine and logs.
#[derive(Clone, Debug)]
pub struct Services {
    pub config: Arc<Config>,
    /// What this machine may promise to dynos.
    pub capacity: Capacity,
    pub endpoints: Endpoints,
    pub store: Store,
    pub slugs: Arc<lathe_slug::Store>,
    pub engine: Arc<Engine>,
    /// By which names a Docker daemon asks for the images of dynos.
    pub images: AppImages,
    /// CPU credits of the dynos.
    pub governor: Governor,
    pub oneoffs: Arc<OneOffs<Engine>>,
    /// The way in for log lines.
    pub logs: lathe_logs::Sender,
    /// The way out: tails and counts.
    pub hub: lathe_logs::Hub,
    pub stacks: Arc<Stacks>,
    /// Where older ones are.
    pub known_stacks: Arc<Known>,
    /// What the cell saw last.
    pub observed: watch::Receiver<Arc<Observed>>,
    /// Where requests go.
    pub routed: Routed,
    /// The platform's own processes beside this one.
    pub parts: Parts,
    pub started_at: Timestamp,
    /// The ids of the apps that sleep.
    pub asleep: watch::Receiver<Arc<BTreeSet<String>>>,
}

impl Services {
    /// Puts a line of the platform's own into an app's log.
    pub fn say(&self, app: &str, source: Source, process: &str, text: &str) {
        self.logs.send(Line {
            app: AppId::new(app),
            time: Timestamp::now(),
            source,
            process: Arc::from(process),
            text: Bytes::copy_from_slice(text.as_bytes()),
        });
    }

    /// Where the stack with this digest is on this machine: a slug runs on the stack that it was
    /// compiled for, also after newer ones were built.
    pub fn stack_root(&self, digest: &str) -> Option<PathBuf> {
        if self.stacks.run.digest == digest {
            return Some(self.stacks.run.root.clone());
        }
        let root = self.known_stacks.root(digest, || stack::find(&self.config, digest));
        root.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "stacks cannot be read");
            None
        })
    }

    /// An app's own URL.
    pub fn web_url(&self, app: &str) -> String {
        self.endpoints.web_url(&self.config, app)
    }
}
