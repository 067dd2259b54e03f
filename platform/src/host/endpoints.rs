//! Where the running platform listens, and the URLs that follow from it.

use crate::config::Config;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The addresses that are really listened on, in `<data>/run/endpoints.json` while it runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoints {
    pub pid: u32,
    pub api_host: String,
    pub apps_domain: String,
    pub api_tls: SocketAddr,
    pub api_plain: SocketAddr,
    pub rendezvous: SocketAddr,
    pub router: SocketAddr,
}

/// Why the addresses of a running platform are not known.
#[derive(Debug, thiserror::Error)]
pub enum EndpointsError {
    #[error("no platform runs on {}", data.display())]
    NotRunning { data: PathBuf },
    #[error("cannot {step} {}", path.display())]
    File {
        step: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl EndpointsError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotRunning { .. } => {
                "Start it with `lathe up`, or name its directory: --data DIR.".into()
            }
            Self::File { .. } => "Do it as the platform's user.".into(),
        }
    }
}

impl Endpoints {
    /// Makes them known to other processes.
    pub fn write(&self, config: &Config) -> Result<(), EndpointsError> {
        let path = path(config);
        let write = || -> io::Result<()> {
            let dir = config.run_dir();
            fs::create_dir_all(&dir)?;
            let mut file = tempfile::NamedTempFile::new_in(&dir)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.flush()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|source| file_error("write", &path, source))
    }

    pub fn read(config: &Config) -> Result<Self, EndpointsError> {
        let path = path(config);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| file_error("understand", &path, error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(EndpointsError::NotRunning { data: config.data.clone() })
            }
            Err(source) => Err(file_error("read", &path, source)),
        }
    }

    /// The mirror of `write`.
    pub fn remove(config: &Config) -> Result<(), EndpointsError> {
        let path = path(config);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(file_error("remove", &path, source))
            }
            _ => Ok(()),
        }
    }

    /// `https://localhost:8443`, without a trailing slash.
    pub fn api_url(&self) -> String {
        format!("https://{}:{}", self.api_host, self.api_tls.port())
    }

    /// What `git push` takes.
    pub fn git_url(&self, app: &str) -> String {
        format!("{}/{app}.git", self.api_url())
    }

    /// Where an app answers: `http://NAME.localhost:8080/`.
    pub fn app_url(&self, app: &str) -> String {
        match self.router.port() {
            80 => format!("http://{app}.{}/", self.apps_domain),
            port => format!("http://{app}.{}:{port}/", self.apps_domain),
        }
    }
}

fn path(config: &Config) -> PathBuf {
    config.run_dir().join("endpoints.json")
}

fn file_error(step: &'static str, path: &Path, source: io::Error) -> EndpointsError {
    EndpointsError::File { step, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    #[test]
    fn what_is_written_is_read_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults(&Surroundings::default());
        config.data = dir.path().to_path_buf();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut endpoints = Endpoints {
            pid: 1,
            api_host: "localhost".into(),
            apps_domain: "localhost".into(),
            api_tls: local(8443),
            api_plain: local(8480),
            rendezvous: local(8444),
            router: local(8080),
        };
        endpoints.write(&config).unwrap();
        assert_eq!(Endpoints::read(&config).unwrap(), endpoints);
        assert_eq!(endpoints.git_url("web"), "https://localhost:8443/web.git");
        assert_eq!(endpoints.app_url("web"), "http://web.localhost:8080/");
        endpoints.router.set_port(80);
        assert_eq!(endpoints.app_url("web"), "http://web.localhost/");

        Endpoints::remove(&config).unwrap();
        let error = Endpoints::read(&config).unwrap_err();
        assert!(matches!(error, EndpointsError::NotRunning { .. }), "{error}");
    }
}
