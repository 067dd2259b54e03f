//! The Docker daemon of this machine: whether dynos may be given to it, and Debian's own installed
//! and started when somebody asks for it.

use super::packages::{self, Need, PackagesError};
use super::tool::{self, ToolError};
use crate::causes::causes;
use lathe_dynos::docker::examine;
use serde_json::json;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

const PACKAGE: Need =
    Need { what: "dockerd", package: "docker.io", why: "runs dynos where it is chosen" };

const SETTINGS: &str = "/etc/docker/daemon.json";

/// Why there is no daemon now.
#[derive(Debug, thiserror::Error)]
pub enum DockerdError {
    #[error(transparent)]
    Packages(#[from] PackagesError),
    #[error("cannot write {SETTINGS}")]
    Settings(#[source] io::Error),
    #[error("cannot start the Docker daemon")]
    Start(#[source] ToolError),
}

impl DockerdError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Packages(error) => error.remedy(),
            Self::Settings(_) => "Run it as root.".into(),
            Self::Start(error) => error.remedy(),
        }
    }
}

/// What keeps dynos from the daemon at this socket; nothing when they may be given to it.
pub(super) fn complaint(socket: &Path) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let examined = runtime.map(|runtime| runtime.block_on(examine(socket)));
    match examined {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(causes(&error)),
        Err(error) => Some(error.to_string()),
    }
}

/// Installs Debian's daemon with the settings that dynos want, and starts it. Settings that are
/// there are somebody's: they stay, and what they lack is said by [`complaint`].
pub fn install(progress: &mut dyn FnMut(&str)) -> Result<(), DockerdError> {
    // Before the package: it starts the daemon at once, and containers of others that it has by
    // the time its settings change would end.
    write_settings(Path::new(SETTINGS)).map_err(DockerdError::Settings)?;
    packages::install_of(&[PACKAGE], progress)?;
    let (program, words) = if Path::new("/run/systemd/system").exists() {
        ("systemctl", ["enable", "--now", "docker"].as_slice())
    } else {
        ("service", ["docker", "start"].as_slice())
    };
    let mut command = Command::new(program);
    command.args(words);
    tool::run(program, command, progress).map_err(DockerdError::Start)
}

fn write_settings(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let settings = json!({
        "live-restore": true,
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
    });
    lathe_slug::fs::atomic_write(path, format!("{settings:#}\n").as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker/daemon.json");
        write_settings(&path).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.contains("\"live-restore\": true") && written.contains("cgroupfs"));
        fs::write(&path, "{}").unwrap();
        write_settings(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
    }

    #[test]
    fn a_daemon_that_is_not_there_is_complained_about() {
        let dir = tempfile::tempdir().unwrap();
        let said = complaint(&dir.path().join("docker.sock")).unwrap();
        assert!(said.contains("reach the Docker daemon"), "{said}");
    }
}
