//! The platform's engine: our own for builds, and for the dynos of apps whichever was chosen.
//!
//! Builds need what no daemon passes on (descriptors, a disk of their own), and our own engine's
//! spawner keeps the listening sockets: it is always there. A Docker daemon, where one was chosen,
//! runs everything that has a slug. Dynos that the other engine still has when the choice changes
//! run on there until they are replaced.

mod image;
mod open;

pub use image::{AppImages, SlugTag};
pub use open::{OpenError, Opened, end_all, open, registry};

use crate::config::EngineKind;
use lathe_dynos::class::{Capacity, Shortage, promised_beside};
use lathe_dynos::containers::{
    Containers, EngineError, Exited, Governed, Known, LastWill, Output, Ran, Signal, Start,
    StartError, Started, Usage,
};
use lathe_dynos::docker::DockerEngine;
use lathe_dynos::native::{Grants, NativeEngine};
use lathe_dynos::spec::{DynoId, DynoSpec};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::broadcast;

/// Our own engine, and beside it a Docker daemon's.
#[derive(Debug)]
pub struct Engine {
    native: NativeEngine,
    docker: Option<DockerEngine>,
    chosen: EngineKind,
    /// What the dynos of both may be promised.
    capacity: Capacity,
}

/// Asks the engine that has the dyno.
macro_rules! ask {
    ($both:ident, $id:ident, $engine:ident => $call:expr) => {
        match $both.docker.as_ref().filter(|docker| docker.knows($id)) {
            Some($engine) => $call.await,
            None => {
                let $engine = &$both.native;
                $call.await
            }
        }
    };
}

impl Engine {
    /// What may be promised to dynos, builds included.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Starts a dyno of the platform's own app with what only that app may have: always our own
    /// engine's, since no daemon passes descriptors on.
    pub async fn start_with(&self, start: Start, grants: Grants) -> Result<Started, StartError> {
        self.native.start_with(start, grants).await
    }

    fn is_dockers(&self, id: DynoId) -> bool {
        self.docker.as_ref().is_some_and(|docker| docker.knows(id))
    }

    /// Closes both. With `stop_dynos` every dyno ends, and nothing of ours is left.
    pub async fn close(&self, stop_dynos: bool) -> Result<(), OpenError> {
        if let Some(docker) = &self.docker {
            docker.close(stop_dynos).await?;
        }
        Ok(self.native.close(stop_dynos).await?)
    }

    /// Each engine lets in what fits beside its own dynos; this is about those of both.
    fn admit(&self, new: &DynoSpec) -> Result<(), Shortage> {
        let Some(docker) = &self.docker else { return Ok(()) };
        let living = [self.native.living(), docker.living()].concat();
        let promised = promised_beside(new.tenant(), living.iter().map(DynoSpec::tenant));
        self.capacity.admit(&promised, &new.class)
    }
}

impl Containers for Engine {
    async fn start(&self, start: Start) -> Result<Started, StartError> {
        self.admit(&start.spec)?;
        let has_slug = start.spec.slug.is_some();
        match &self.docker {
            Some(docker) if has_slug && self.chosen == EngineKind::Docker => {
                docker.start(start).await
            }
            _ => self.native.start(start).await,
        }
    }

    async fn list(&self) -> Result<Vec<Known>, EngineError> {
        let mut all = self.native.list().await?;
        if let Some(docker) = &self.docker {
            all.extend(docker.list().await?);
        }
        Ok(all)
    }

    async fn labelled(&self, label: &str) -> Result<Vec<Known>, EngineError> {
        let mut all = self.native.labelled(label).await?;
        if let Some(docker) = &self.docker {
            all.extend(docker.labelled(label).await?);
        }
        Ok(all)
    }

    /// Both tell them in the same place.
    fn events(&self) -> broadcast::Receiver<Exited> {
        self.native.events()
    }

    async fn signal(&self, id: DynoId, signal: Signal) -> Result<(), EngineError> {
        ask!(self, id, engine => engine.signal(id, signal))
    }

    async fn kill(&self, id: DynoId) -> Result<(), EngineError> {
        ask!(self, id, engine => engine.kill(id))
    }

    async fn forget(&self, id: DynoId) -> Result<(), EngineError> {
        if self.is_dockers(id) {
            self.native.keep_will(id, None)?;
        }
        ask!(self, id, engine => engine.forget(id))
    }

    async fn output(&self, id: DynoId) -> Result<Output, EngineError> {
        ask!(self, id, engine => engine.output(id))
    }

    async fn resize(&self, id: DynoId, rows: u16, columns: u16) -> Result<(), EngineError> {
        ask!(self, id, engine => engine.resize(id, rows, columns))
    }

    async fn listening(&self, id: DynoId) -> Result<Vec<u16>, EngineError> {
        ask!(self, id, engine => engine.listening(id))
    }

    async fn accepts(
        &self,
        id: DynoId,
        address: Ipv4Addr,
        port: u16,
        at_most: Duration,
    ) -> Result<bool, EngineError> {
        ask!(self, id, engine => engine.accepts(id, address, port, at_most))
    }

    async fn run(&self, id: DynoId, command: &str, at_most: Duration) -> Result<Ran, EngineError> {
        ask!(self, id, engine => engine.run(id, command, at_most))
    }

    async fn running(&self) -> Result<Vec<DynoId>, EngineError> {
        let mut all = self.native.running().await?;
        if let Some(docker) = &self.docker {
            all.extend(docker.running().await?);
        }
        Ok(all)
    }

    async fn governed(&self, id: DynoId) -> Result<Governed, EngineError> {
        ask!(self, id, engine => engine.governed(id))
    }

    async fn when_gone(&self, id: DynoId, will: Option<LastWill>) -> Result<(), EngineError> {
        // The spawner outlives the platform, whoever runs the dyno.
        if self.is_dockers(id) {
            return self.native.keep_will(id, will.as_ref());
        }
        self.native.when_gone(id, will).await
    }

    async fn usage(&self, id: DynoId) -> Result<Usage, EngineError> {
        ask!(self, id, engine => engine.usage(id))
    }

    async fn runnable(&self, id: DynoId) -> Result<u32, EngineError> {
        ask!(self, id, engine => engine.runnable(id))
    }
}
