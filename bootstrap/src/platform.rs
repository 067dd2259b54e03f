//! A platform of a stage's own: begun on a data directory nobody has used, driven from outside, ended.

use crate::builder::Builder;
use crate::program::{Heard, ProgramError, run};
use crate::{Stop, Surroundings, SurroundingsError};
use serde::Deserialize;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The first platform on a machine makes the stacks, which takes minutes.
const READY_BOUND: Duration = Duration::from_mins(45);
const TICK: Duration = Duration::from_millis(500);
const REQUEST_SECONDS_MAX: &str = "600";
/// Of what the platform logged, for an error.
const LOG_LINES: usize = 20;

/// Why a stage's platform did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    #[error("cannot prepare {}", path.display())]
    Prepare {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot listen for its readiness")]
    Listen(#[source] io::Error),
    #[error("it could not be started")]
    Start(#[from] SurroundingsError),
    #[error("it ended with {status} before it was ready; it said:\n{said}")]
    Ended { status: ExitStatus, said: String },
    #[error("it was not ready after {} minutes; it said:\n{said}", READY_BOUND.as_secs() / 60)]
    Slow { said: String },
    #[error("it was stopped while it started")]
    Stopped,
    #[error("it does not do it")]
    Program(#[from] ProgramError),
    #[error("{what} answers something else than expected")]
    Answer {
        what: String,
        #[source]
        source: serde_json::Error,
    },
}

/// What `lathe env --json` says.
#[derive(Debug, Deserialize)]
struct Access {
    endpoints: Endpoints,
    token: String,
    authority: String,
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    api_tls: SocketAddr,
}

/// What `lathe selftest --json` says.
#[derive(Debug, Deserialize)]
struct Selftest {
    checks: Vec<Value>,
}

/// It runs until [`Platform::end`], or until it is dropped.
#[derive(Debug)]
pub(crate) struct Platform<'a> {
    builder: &'a Builder,
    settings: &'a [(String, String)],
    /// Data, log, and the home of its clients.
    dir: PathBuf,
    child: Child,
    port: u16,
    stop: &'a Stop,
}

impl<'a> Platform<'a> {
    pub(crate) fn start(
        builder: &'a Builder,
        settings: &'a [(String, String)],
        surroundings: &Surroundings,
        dir: &Path,
        stop: &'a Stop,
    ) -> Result<Self, PlatformError> {
        let prepare = |path: &Path| {
            let path = path.to_owned();
            move |source| PlatformError::Prepare { path, source }
        };
        for path in [dir.join("data"), dir.join("home")] {
            fs::create_dir_all(&path).map_err(prepare(&path))?;
        }
        let log = dir.join("up.log");
        let log = File::create(&log).map_err(prepare(&log))?;
        let name = format!("lathe-bootstrap-{}-{}", std::process::id(), builder.sha256);
        let ready = listen(&name).map_err(PlatformError::Listen)?;

        let mut command = builder.verb(&dir.join("data"), settings, &["up", "--stop-dynos"]);
        let both = log.try_clone().map_err(PlatformError::Listen)?;
        command.env("NOTIFY_SOCKET", format!("@{name}"));
        command.stdin(Stdio::null()).stdout(log).stderr(both).process_group(0);
        let child = surroundings.spawn(command)?;
        let dir = dir.to_owned();
        let mut platform = Self { builder, settings, dir, child, port: 0, stop };
        platform.wait(&ready)?;
        platform.meet()?;
        Ok(platform)
    }

    /// Until it says that it is ready.
    fn wait(&mut self, ready: &UnixDatagram) -> Result<(), PlatformError> {
        let begun = Instant::now();
        while ready.recv(&mut [0; 16]).is_err() {
            let ended = self.child.try_wait().map_err(PlatformError::Listen)?;
            if let Some(status) = ended {
                return Err(PlatformError::Ended { status, said: self.said() });
            }
            if self.stop.is_asked() {
                return Err(PlatformError::Stopped);
            }
            if begun.elapsed() > READY_BOUND {
                return Err(PlatformError::Slow { said: self.said() });
            }
        }
        Ok(())
    }

    /// Learns where it is and by which token it is spoken to, and tells git and curl.
    fn meet(&mut self) -> Result<(), PlatformError> {
        let said = run("lathe env", self.verb(&["env", "--json"]), self.stop, &mut |_| {})?;
        let access: Access = serde_json::from_slice(&said)
            .map_err(|source| PlatformError::Answer { what: "lathe env".into(), source })?;
        self.port = access.endpoints.api_tls.port();
        let netrc = format!("machine localhost login _ password {}\n", access.token);
        for (path, text) in [(self.netrc(), netrc), (self.authority(), access.authority)] {
            let write = |mut file: File| file.write_all(text.as_bytes());
            let mut options = OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(write).map_err(|source| PlatformError::Prepare { path, source })?;
        }
        Ok(())
    }

    fn netrc(&self) -> PathBuf {
        self.dir.join("home/.netrc")
    }

    fn authority(&self) -> PathBuf {
        self.dir.join("home/authority.pem")
    }

    fn verb(&self, verb: &[&str]) -> Command {
        self.builder.verb(&self.dir.join("data"), self.settings, verb)
    }

    /// The last lines of its log.
    fn said(&self) -> String {
        let text = fs::read(self.dir.join("up.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines.split_at(lines.len().saturating_sub(LOG_LINES)).1.join("\n")
    }

    /// The acceptance suite in the executable, against itself. Gives the number of checks, all passed.
    pub(crate) fn prove(&self) -> Result<usize, PlatformError> {
        let mut command = self.verb(&["selftest", "--json"]);
        // What it leaves when it is killed goes with everything else.
        command.env("TMPDIR", self.dir.join("home"));
        let said = run("lathe selftest", command, self.stop, &mut |_| {})?;
        let selftest: Selftest = serde_json::from_slice(&said)
            .map_err(|source| PlatformError::Answer { what: "lathe selftest".into(), source })?;
        Ok(selftest.checks.len())
    }

    /// A call of its API, by curl; `body` makes it a POST.
    pub(crate) fn api(&self, path: &str, body: Option<&Value>) -> Result<Value, PlatformError> {
        let mut command = self.curl(&format!("https://localhost:{}{path}", self.port));
        command.args(["--header", "Accept: application/vnd.heroku+json; version=3"]);
        if let Some(body) = body {
            command.args(["--header", "Content-Type: application/json", "--data"]);
            command.arg(body.to_string());
        }
        let what = format!("curl of {path}");
        let said = run(&what, command, self.stop, &mut |_| {})?;
        serde_json::from_slice(&said).map_err(|source| PlatformError::Answer { what, source })
    }

    /// Fetches one of its own URLs, which carry their secret themselves, into a file.
    pub(crate) fn download(&self, url: &str, file: &Path) -> Result<(), PlatformError> {
        let mut command = self.curl(url);
        command.arg("--output").arg(file);
        run("curl of the slug", command, self.stop, &mut |_| {})?;
        Ok(())
    }

    fn curl(&self, url: &str) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
        command.args(["--max-time", REQUEST_SECONDS_MAX, "--netrc-file"]).arg(self.netrc());
        command.arg("--cacert").arg(self.authority()).arg("--url").arg(url);
        command
    }

    /// `git push` of what is checked out in `tree`, with nothing of this machine's configuration.
    pub(crate) fn push(
        &self,
        tree: &Path,
        app: &str,
        heard: &mut dyn FnMut(Heard<'_>),
    ) -> Result<(), PlatformError> {
        let path = self.dir.join("push.log");
        let failed = |source| PlatformError::Prepare { path: path.clone(), source };
        let mut transcript = File::create(&path).map_err(failed)?;
        let mut lost = None;
        let mut command = Command::new("git");
        command
            .args(["push", &format!("https://localhost:{}/{app}.git", self.port)])
            .arg("HEAD:refs/heads/main")
            .current_dir(tree)
            .env("HOME", self.dir.join("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSL_CAINFO", self.authority())
            .envs([("no_proxy", "*"), ("NO_PROXY", "*")]);
        run("git push", command, self.stop, &mut |what| {
            if let Heard::Line(line) = what {
                lost = lost.take().or(writeln!(transcript, "{line}").err());
            }
            heard(what);
        })?;
        lost.map_or(Ok(()), |source| Err(failed(source)))
    }

    /// Ends it, with its dynos, and waits until nothing of it runs.
    pub(crate) fn end(mut self) -> Result<(), PlatformError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), PlatformError> {
        // Also when the check itself is being stopped.
        let patient = Stop::default();
        let stop = self.verb(&["stop", "--stop-dynos"]);
        let stopped = run("lathe stop", stop, &patient, &mut |_| {});
        if stopped.is_err() {
            self.child.kill().map_err(PlatformError::Listen)?;
        }
        self.child.wait().map_err(PlatformError::Listen)?;
        stopped?;
        Ok(())
    }
}

impl Drop for Platform<'_> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Whatever made us leave is the error to be told of.
            self.finish().ok();
        }
    }
}

/// The socket to which a platform says that it is ready (`sd_notify(3)`).
fn listen(name: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(name)?)?;
    socket.set_read_timeout(Some(TICK))?;
    Ok(socket)
}
