//! What a platform stands on, whether or not it has its state: certificates, slugs, engine, sockets.

use super::listeners::Listeners;
use super::{UpError, cell};
use crate::config::Config;
use crate::tls::ServerTls;
use jiff::Timestamp;
use lathe_dynos::containers::Containers;
use lathe_dynos::native::NativeEngine;
use std::path::Path;
use std::sync::Arc;

pub(super) struct Ground {
    pub(super) tls: Arc<ServerTls>,
    pub(super) slugs: Arc<lathe_slug::Store>,
    pub(super) engine: Arc<NativeEngine>,
    pub(super) listeners: Listeners,
}

impl Ground {
    pub(super) async fn open(config: &Config, lathe: &Path) -> Result<Self, UpError> {
        let tls = Arc::new(ServerTls::open(config, Timestamp::now())?);
        let slugs = Arc::new(open_slugs(config)?);
        let engine = open_engine(config, lathe, &slugs).await?;
        match Listeners::open(config, &engine).await {
            Ok(listeners) => Ok(Self { tls, slugs, engine: Arc::new(engine), listeners }),
            Err(error) => Err(abandon(&engine, error).await),
        }
    }
}

pub(super) fn open_slugs(config: &Config) -> Result<lathe_slug::Store, UpError> {
    let floor = config.free_disk_floor_bytes;
    lathe_slug::Store::open_with_limits(config.slugs_dir(), floor, config.archives)
        .map_err(UpError::Slugs)
}

pub(super) async fn open_engine(
    config: &Config,
    lathe: &Path,
    slugs: &Arc<lathe_slug::Store>,
) -> Result<NativeEngine, UpError> {
    let opened = NativeEngine::open(cell::engine_config(config, lathe)?, cell::slug_opener(slugs));
    Ok(opened.await?)
}

/// An engine that holds no dyno is closed again when the platform does not come up.
async fn abandon(engine: &NativeEngine, error: UpError) -> UpError {
    if engine.list().await.is_ok_and(|dynos| dynos.is_empty())
        && let Err(error) = engine.close(true).await
    {
        tracing::error!(error = &error as &dyn std::error::Error, "the engine did not close");
    }
    error
}
