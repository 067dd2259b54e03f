//! Where a running platform is reached: written down, because ports may have been chosen for us.

use crate::config::Config;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoints {
    pub api_tls: SocketAddr,
    pub api_plain: SocketAddr,
    pub rendezvous: SocketAddr,
    pub router: SocketAddr,
    #[serde(default = "none")]
    pub router_tls: SocketAddr,
}

/// As an older platform has it, which knows nothing of that endpoint.
fn none() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

impl Endpoints {
    fn path(config: &Config) -> PathBuf {
        config.data.join("run/endpoints.json")
    }

    pub fn write(&self, config: &Config) -> io::Result<()> {
        lathe_slug::fs::atomic_write(&Self::path(config), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// Those of the platform that runs on this data directory; `NotFound` when none does.
    pub fn read(config: &Config) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(Self::path(config))?)?)
    }

    /// An app's own URL.
    pub fn web_url(&self, config: &Config, app: &str) -> String {
        let domain = &config.apps_domain;
        match self.router.port() {
            80 => format!("http://{app}.{domain}/"),
            port => format!("http://{app}.{domain}:{port}/"),
        }
    }

    pub fn remove(config: &Config) {
        // Gone already is as good.
        drop(std::fs::remove_file(Self::path(config)));
    }
}
