//! A platform on its way up: it comes to run as a whole, or what was started ends again.

use super::{Role, Running, UpError};
use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::engine::Engine;
use crate::state::Store;
use crate::state::lock::DataLock;
use lathe_dynos::containers::Containers;
use lathe_dynos::spec::{Observed, SYSTEM_APP};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What is there so far.
#[derive(Debug)]
pub(super) struct Rising {
    config: Arc<Config>,
    endpoints: Endpoints,
    engine: Arc<Engine>,
    /// The engine had no dyno when it was opened.
    fresh: bool,
    /// In start order.
    pub(super) roles: Vec<Role>,
    stop_dynos: watch::Sender<bool>,
    lock: DataLock,
}

/// What the roles have made beside themselves.
#[derive(Debug)]
pub(super) struct Raised {
    /// Or why it cannot be opened.
    pub(super) state: Result<Store, String>,
    pub(super) observed: watch::Receiver<Arc<Observed>>,
    pub(super) again: CancellationToken,
}

impl Rising {
    pub(super) async fn on(
        config: &Arc<Config>,
        endpoints: &Endpoints,
        engine: &Arc<Engine>,
        lock: DataLock,
    ) -> Self {
        Self {
            config: config.clone(),
            endpoints: endpoints.clone(),
            engine: engine.clone(),
            fresh: engine.list().await.is_ok_and(|dynos| dynos.is_empty()),
            roles: Vec::new(),
            stop_dynos: watch::Sender::new(false),
            lock,
        }
    }

    /// Says whether dynos shall end with the platform.
    pub(super) fn stop_dynos(&self) -> watch::Receiver<bool> {
        self.stop_dynos.subscribe()
    }

    /// Says where the platform is reached, if it has come up.
    pub(super) async fn settle(self, raised: Result<Raised, UpError>) -> Result<Running, UpError> {
        let announced = raised.and_then(|raised| {
            let path = self.config.data.join("run");
            let written = self.endpoints.write(&self.config);
            written.map(|()| raised).map_err(|source| UpError::Data { path, source })
        });
        match announced {
            Ok(Raised { state, observed, again }) => {
                let Self { config, endpoints, engine, roles, stop_dynos, lock, .. } = self;
                Ok(Running {
                    config,
                    endpoints,
                    state,
                    observed,
                    engine,
                    roles,
                    stop_dynos,
                    again,
                    _lock: lock,
                })
            }
            Err(error) => {
                self.fall().await;
                Err(error)
            }
        }
    }

    /// The mirror image of coming up. The engine is closed with what is the platform's own when it has
    /// nothing of an earlier platform or of anybody's app: nobody would come for its spawner.
    async fn fall(self) {
        for role in self.roles.into_iter().rev() {
            role.end().await;
        }
        let dynos = self.engine.list().await;
        let own = dynos.is_ok_and(|dynos| dynos.iter().all(|d| d.spec.app.as_str() == SYSTEM_APP));
        if self.fresh
            && own
            && let Err(error) = self.engine.close(true).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the engine did not close");
        }
    }
}
