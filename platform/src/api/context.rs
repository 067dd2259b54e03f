//! What the handlers share.

use super::cancels::Cancels;
use super::rate::Rates;
use super::uploads::Uploads;
use crate::attach::Pending;
use crate::build::Builder;
use crate::services::Services;
use std::sync::Arc;

/// Cheap to clone; one for all requests.
#[derive(Clone, Debug)]
pub struct Context {
    pub(super) services: Services,
    pub(super) builder: Builder,
    pub(super) pending: Arc<Pending>,
    pub(super) rates: Arc<Rates>,
    pub(super) cancels: Arc<Cancels>,
    pub(super) uploads: Arc<Uploads>,
}

impl Context {
    pub fn new(services: Services, builder: Builder, pending: Arc<Pending>) -> Self {
        Self {
            services,
            builder,
            pending,
            rates: Arc::default(),
            cancels: Arc::default(),
            uploads: Arc::default(),
        }
    }

    /// An address of this API as its clients reach it: over TLS, by the configured name.
    pub(super) fn url(&self, path: &str) -> String {
        let host = &self.services.config.api_host;
        let port = self.services.endpoints.api_tls.port();
        format!("https://{host}:{port}{path}")
    }
}
