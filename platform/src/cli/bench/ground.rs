//! The ground of a measurement: a platform in a directory and on ports of its own, and its owner, who
//! puts apps on it.

use super::BenchError;
use crate::cli::client::Client;
use crate::cli::tour::Sample;
use crate::config::Config;
use crate::roles::Running;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Gives the platform a directory, which is removed with what is given back, and free ports.
pub(super) fn lay_out(config: &mut Config) -> Result<TempDir, BenchError> {
    let room = tempfile::Builder::new().prefix("lathe-bench-").tempdir();
    let room = room.map_err(BenchError::at("make a directory"))?;
    config.data = room.path().join("data");
    for address in config.listen.all_mut() {
        address.set_port(0);
    }
    Ok(room)
}

/// The owner of a platform that runs.
pub(super) struct Owner<'a> {
    running: &'a Running,
    client: Client,
    pub(super) token: String,
}

impl<'a> Owner<'a> {
    pub(super) fn of(running: &'a Running) -> Result<Self, BenchError> {
        let read = |path: PathBuf| {
            let step = format!("read {}", path.display());
            fs::read_to_string(path).map_err(BenchError::at(step))
        };
        let config = &running.config;
        let token = read(config.owner_token())?.trim().to_owned();
        let client = Client::new(&running.endpoints, &token, &read(config.ca_certificate())?)?;
        Ok(Self { running, client, token })
    }

    /// Creates an app, and in `room` the repository of a sample that can be pushed to it.
    pub(super) async fn create(&self, app: &str, room: &Path) -> Result<Sample, BenchError> {
        self.client.post("/apps", &json!({ "name": app })).await?;
        let port = self.running.endpoints.api_tls.port();
        let bundle = self.running.config.tls_dir().join("bundle.pem");
        Ok(Sample::make(room, app, port, &self.token, &bundle).await?)
    }
}
