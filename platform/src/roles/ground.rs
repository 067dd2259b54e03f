//! What a platform stands on, whether or not it has its state: certificates, slugs, engine, sockets.

use super::listeners::Listeners;
use super::{UpError, cell};
use crate::config::Config;
use crate::engine::{self, AppImages, Engine};
use crate::tls::ServerTls;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;

pub(super) struct Ground {
    pub(super) tls: Arc<ServerTls>,
    pub(super) slugs: Arc<lathe_slug::Store>,
    pub(super) engine: Arc<Engine>,
    pub(super) images: AppImages,
    pub(super) listeners: Listeners,
}

impl Ground {
    /// Our own engine first: it has kept the sockets. A Docker daemon is told their addresses.
    pub(super) async fn open(config: &Config, lathe: &Path) -> Result<Self, UpError> {
        let tls = Arc::new(ServerTls::open(config, Timestamp::now())?);
        let slugs = Arc::new(open_slugs(config)?);
        let opened = engine::open(config, lathe, cell::slug_opener(&slugs)).await?;
        let listeners = match Listeners::open(config, &opened.0).await {
            Ok(listeners) => listeners,
            Err(error) => {
                opened.abandon().await;
                return Err(error);
            }
        };
        let images = AppImages::new(engine::registry(config, &listeners.endpoints));
        let engine = Arc::new(opened.complete(config, images.clone()).await?);
        Ok(Self { tls, slugs, engine, images, listeners })
    }
}

pub(super) fn open_slugs(config: &Config) -> Result<lathe_slug::Store, UpError> {
    let floor = config.free_disk_floor_bytes;
    lathe_slug::Store::open_with_limits(config.slugs_dir(), floor, config.archives)
        .map_err(UpError::Slugs)
}
