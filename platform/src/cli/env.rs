//! `lathe env`: what the Heroku CLI and git need in their environment to talk to this platform.

use super::CliError;
use super::say::say;
use crate::config::Config;
use crate::endpoints::Endpoints;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    #[error("no platform runs on {}", data.display())]
    NotRunning { data: PathBuf },
    #[error("cannot read where the platform listens")]
    Endpoints(#[source] io::Error),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl EnvError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::NotRunning { .. } => {
                "Start it with `lathe up`, or name its directory: --data DIR.".into()
            }
            Self::Endpoints(_) | Self::Read { .. } => "Do it as the platform's user.".into(),
        }
    }
}

/// What another machine has to know to be a client of this one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Access {
    pub(super) endpoints: Endpoints,
    pub(super) token: String,
    /// The authority to trust, PEM.
    pub(super) authority: String,
}

impl Access {
    /// Reads it on the machine of the platform, as its user.
    pub(super) fn of(config: &Config) -> Result<Self, CliError> {
        let endpoints = Endpoints::read(config).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => EnvError::NotRunning { data: config.data.clone() },
            _ => EnvError::Endpoints(source),
        })?;
        let token = read(&config.owner_token())?.trim().to_owned();
        Ok(Self { endpoints, token, authority: read(&config.ca_certificate())? })
    }

    /// Names and values. The host is `localhost` whatever the platform calls itself: the Heroku
    /// CLI sends its token to `localhost` and to Heroku's own domains only (npm package
    /// `@heroku-cli/command`), which is also why other machines come through a forwarded port.
    pub(super) fn variables(&self, bundle: &Path) -> Vec<(&'static str, String)> {
        let host = format!("https://localhost:{}", self.endpoints.api_tls.port());
        let bundle = bundle.display().to_string();
        vec![
            ("HEROKU_HOST", host.clone()),
            ("HEROKU_API_KEY", self.token.clone()),
            // Both get the authority and all that the machine trusts beside it.
            ("NODE_EXTRA_CA_CERTS", bundle.clone()),
            ("GIT_SSL_CAINFO", bundle),
            // Otherwise each command waits seconds for services that only Heroku has.
            ("HEROKU_PARTICLEBOARD_URL", host.clone()),
            // Names of buildpacks are looked up here, and not at Heroku.
            ("HEROKU_BUILDPACK_REGISTRY_URL", host.clone()),
            ("HEROKU_LOGIN_HOST", host),
            ("DISABLE_TELEMETRY", "true".into()),
            ("HEROKU_SKIP_ANALYTICS", "1".into()),
            ("HEROKU_SKIP_NEW_VERSION_CHECK", "true".into()),
            ("IS_HEROKU_TEST_ENV", "true".into()),
        ]
    }
}

/// Prints `export` lines for `eval "$(lathe env)"`, or JSON for `lathe connect`.
pub(super) fn print(config: &Config, json: bool) -> Result<(), CliError> {
    let access = Access::of(config)?;
    if json {
        say!("{}", serde_json::json!(access));
    } else {
        print_exports(&access.variables(&config.tls_dir().join("bundle.pem")));
    }
    Ok(())
}

pub(super) fn print_exports(variables: &[(&'static str, String)]) {
    for (name, value) in variables {
        say!("export {name}={}", quoted(value));
    }
}

/// One word of the POSIX shell, whatever is in it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn read(path: &Path) -> Result<String, EnvError> {
    fs::read_to_string(path).map_err(|source| EnvError::Read { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_shell_reads_back_what_was_quoted() {
        for value in ["plain", "it's", "$HOME `id` \\ \"x\"", "", "a\nb"] {
            let script = format!("printf %s {}", quoted(value));
            let said = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), value);
        }
    }
}
