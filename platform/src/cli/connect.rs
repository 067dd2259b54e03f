//! `lathe connect user@box`: makes this machine a client of a platform elsewhere, through SSH.
//!
//! The Heroku CLI gives its token to `localhost` only, so the platform's ports are forwarded to
//! the same ports here. One SSH connection does it; it stays until `--end` or a broken line.

use super::CliError;
use super::env::{Access, print_exports};
use super::say::say;
use crate::config::Config;
use crate::endpoints::Endpoints;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// What is run over there; constant, since ssh hands it to a shell.
const REMOTE: [&str; 2] = ["lathe env --json", "sudo -n lathe env --json"];
/// ssh's own exit status, as opposed to the remote command's.
const SSH_FAILED: i32 = 255;
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{target:?} is not user@host or host")]
    Target { target: String },
    #[error("cannot run ssh")]
    Ssh(#[source] io::Error),
    #[error("cannot reach {target} by ssh")]
    Unreachable { target: String },
    #[error("`lathe env` on {target} ended with {status}")]
    Remote { target: String, status: ExitStatus },
    #[error("{target} answers something else than a platform")]
    Answer {
        target: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the ports of {target} cannot be forwarded: {status}")]
    Forward { target: String, status: ExitStatus },
    #[error("there is no connection to {target}")]
    NotConnected { target: String },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot run {program}")]
    Program {
        program: String,
        #[source]
        source: io::Error,
    },
}

impl ConnectError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Target { .. } => "Write it as you would for ssh: ada@box.example.com.".into(),
            Self::Ssh(_) => "Install openssh-client.".into(),
            Self::Unreachable { target } => format!("See that `ssh {target}` works."),
            Self::Remote { .. } => "The platform must be up there, `lathe` on the PATH, and you \
                 its user, or one who may `sudo -n lathe env`."
                .into(),
            Self::Answer { .. } => "See what `lathe env --json` prints over there.".into(),
            Self::Forward { .. } => "The same port numbers must be free here: see `ss -ltn`. A \
                 platform of this machine can move: --set listen.api_tls=127.0.0.1:9443 …"
                .into(),
            Self::NotConnected { .. } => "Connect first: lathe connect user@host.".into(),
            Self::Write { .. } => "Check the disk and the directory's owner.".into(),
            Self::Program { program, .. } => format!("See that {program} is on the PATH."),
        }
    }
}

/// Connects. Then, with a command, becomes that command; without, prints the environment.
pub(super) fn connect(config: &Config, target: &str, command: &[String]) -> Result<(), CliError> {
    let line = Line::to(config, target)?;
    line.prepare()?;
    let access = line.ask()?;
    if !line.is_up()? {
        line.forward(&access)?;
    }
    let bundle = line.write_bundle(&access)?;
    let variables = access.variables(&bundle);
    let Some((program, arguments)) = command.split_first() else {
        print_exports(&variables);
        say!("# ends with: lathe connect --end {target}");
        return Ok(());
    };
    let source = Command::new(program).args(arguments).envs(variables).exec();
    Err(ConnectError::Program { program: program.clone(), source }.into())
}

/// Ends the connection; the mirror of `connect`.
pub(super) fn end(config: &Config, target: &str) -> Result<(), CliError> {
    let line = Line::to(config, target)?;
    if !line.is_up()? {
        return Err(ConnectError::NotConnected { target: target.to_owned() }.into());
    }
    line.control("exit")?;
    fs::remove_dir_all(&line.dir)
        .map_err(|source| ConnectError::Write { path: line.dir, source }.into())
}

/// One forwarded connection and its directory here.
struct Line<'a> {
    target: &'a str,
    dir: PathBuf,
}

impl<'a> Line<'a> {
    fn to(config: &Config, target: &'a str) -> Result<Self, ConnectError> {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"@.-_:[]".contains(&byte);
        if target.is_empty() || target.starts_with(['-', '.']) || !target.bytes().all(sound) {
            return Err(ConnectError::Target { target: target.to_owned() });
        }
        Ok(Self { target, dir: config.data.join("connections").join(target) })
    }

    fn prepare(&self) -> Result<(), ConnectError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|source| ConnectError::Write { path: self.dir.clone(), source })
    }

    /// ssh with the connection's control socket, options only.
    fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-S").arg(self.dir.join("control"));
        command
    }

    /// Asks the platform who it is; as its user, else through sudo.
    fn ask(&self) -> Result<Access, ConnectError> {
        let mut status = ExitStatus::default();
        for remote in REMOTE {
            let mut command = self.ssh();
            command.args(["-T", "--", self.target, remote]);
            let said = command
                .stdin(Stdio::inherit())
                .stderr(Stdio::inherit())
                .output()
                .map_err(ConnectError::Ssh)?;
            if said.status.success() {
                return serde_json::from_slice(&said.stdout).map_err(|source| {
                    ConnectError::Answer { target: self.target.to_owned(), source }
                });
            }
            if said.status.code() == Some(SSH_FAILED) {
                return Err(ConnectError::Unreachable { target: self.target.to_owned() });
            }
            status = said.status;
        }
        Err(ConnectError::Remote { target: self.target.to_owned(), status })
    }

    fn is_up(&self) -> Result<bool, ConnectError> {
        self.control("check").map(|status| status.success())
    }

    fn control(&self, word: &str) -> Result<ExitStatus, ConnectError> {
        let mut command = self.ssh();
        command.args(["-O", word, "--", self.target]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().map_err(ConnectError::Ssh)
    }

    /// Forwards each port to the same port here. ssh goes to the background only when all are.
    fn forward(&self, access: &Access) -> Result<(), ConnectError> {
        let endpoints = &access.endpoints;
        let mut command = self.ssh();
        command.args(["-M", "-N", "-f", "-T"]);
        command.args(["-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"]);
        let Endpoints { api_tls, rendezvous, router, router_tls, .. } = *endpoints;
        let doors = [api_tls, rendezvous, router, router_tls];
        for address in doors.into_iter().filter(|address| address.port() != 0) {
            let port = address.port();
            let there = match address.ip() {
                ip if ip.is_unspecified() => "localhost".to_owned(),
                ip if ip.is_ipv6() => format!("[{ip}]"),
                ip => ip.to_string(),
            };
            command.arg("-L").arg(format!("127.0.0.1:{port}:{there}:{port}"));
        }
        let status = command
            .args(["--", self.target])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(ConnectError::Ssh)?;
        if status.success() {
            Ok(())
        } else {
            Err(ConnectError::Forward { target: self.target.to_owned(), status })
        }
    }

    fn write_bundle(&self, access: &Access) -> Result<PathBuf, ConnectError> {
        let path = self.dir.join("bundle.pem");
        let system = fs::read(Path::new(SYSTEM_BUNDLE)).unwrap_or_default();
        let bundle = [access.authority.as_bytes(), &system].concat();
        match fs::write(&path, bundle) {
            Ok(()) => Ok(path),
            Err(source) => Err(ConnectError::Write { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Surroundings;

    #[test]
    fn a_target_is_a_host_and_never_an_option_or_a_path() {
        let config = Config::defaults(&Surroundings::default());
        for target in ["box", "ada@box.example.com", "ada@[::1]"] {
            assert!(Line::to(&config, target).is_ok(), "{target}");
        }
        for target in ["", "-oProxyCommand=id", "a b", "box;id", "..", "a/b"] {
            assert!(Line::to(&config, target).is_err(), "{target}");
        }
    }
}
