//! What an operator may set, where it may be set, and the one place that reads the environment.
//!
//! A setting is looked up in this order, the first that has it wins: a flag (`--set key=value`),
//! the environment (`LATHE_LISTEN_ROUTER` for `listen.router`), the file (`<data>/lathe.toml` or
//! `--config FILE`), the default. [`settings::SETTINGS`] is the complete list.

mod acme;
mod apply;
mod classes;
mod error;
pub mod settings;
mod shown;
pub mod surroundings;
mod value;

pub use acme::Acme;
pub use error::{ConfigError, Origin};
pub use settings::SETTINGS;
pub use surroundings::Surroundings;

use lathe_dynos::class::{Classes, Policy};
use lathe_dynos::native::Network;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything an operator may set, checked. See [`SETTINGS`] for what each means.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The one directory that holds everything the platform must not lose.
    pub data: PathBuf,
    pub listen: Listen,
    pub router: RouterPlace,
    /// The host name in URLs given to clients.
    pub api_host: String,
    /// An app's URL is `http://NAME.<apps_domain>`.
    pub apps_domain: String,
    /// Addresses of dynos.
    pub network: Network,
    /// What runs the dynos of apps.
    pub engine: EngineKind,
    pub docker: Docker,
    pub stacks: Stacks,
    pub build: Build,
    pub dynos: Patience,
    /// Those of the table, and the operator's own.
    pub classes: Classes,
    /// The class of a release phase's dyno.
    pub release_class: String,
    /// How much of the machine may be promised to dynos.
    pub room: Policy,
    pub governor: Governor,
    pub upgrade: Upgrade,
    pub push: Push,
    /// What slugs, source archives and archives of buildpacks may hold.
    pub archives: lathe_slug::Limits,
    pub logs: Logs,
    pub drains: Drains,
    pub acme: Acme,
    /// What of the platform's own log is written; directives of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// Pushes and slugs are refused while the data directory's file system has less left.
    pub free_disk_floor_bytes: u64,
    /// Where a service manager waits to hear that we are ready.
    pub notify_socket: Option<String>,
    /// A keeper has started us, and for this release of the system app. No setting: it says so itself.
    pub kept: Option<String>,
}

/// Where the router runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouterPlace {
    /// In a dyno of the platform's own, which outlives the platform's process.
    Apart,
    /// In the platform's process.
    Inside,
}

impl RouterPlace {
    const ALL: [(&str, Self); 2] = [("apart", Self::Apart), ("inside", Self::Inside)];
}

impl fmt::Display for RouterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, place)| place == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// Where the platform listens. Port 0 asks the kernel for one; `run/endpoints.json` says which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// API, git and log sessions over TLS.
    pub api_tls: SocketAddr,
    /// The same in plain HTTP; loopback only.
    pub api_plain: SocketAddr,
    /// Where the clients of one-off dynos meet them; TLS.
    pub rendezvous: SocketAddr,
    /// Requests for apps.
    pub router: SocketAddr,
    /// The same over TLS.
    pub router_tls: SocketAddr,
}

impl Listen {
    /// Every one of them.
    pub fn all_mut(&mut self) -> [&mut SocketAddr; 5] {
        let Self { api_tls, api_plain, rendezvous, router, router_tls } = self;
        [api_tls, api_plain, rendezvous, router, router_tls]
    }
}

/// What makes containers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineKind {
    /// Our own.
    Native,
    /// A Docker daemon; builds stay with our own.
    Docker,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Docker => "docker",
        })
    }
}

/// The Docker daemon, where one runs dynos.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Docker {
    pub socket: PathBuf,
    /// Addresses of its dynos; not those of [`Config::network`], which builds have.
    pub network: Network,
    /// The host by which it reaches our API over TLS; none: it shares our loopback.
    pub registry: Option<String>,
}

impl Docker {
    /// As Debian's package has it.
    fn debian() -> Self {
        Self { socket: "/var/run/docker.sock".into(), network: Network::DOCKER, registry: None }
    }
}

/// Where base file systems are kept and made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stacks {
    /// May be shared between data directories.
    pub dir: PathBuf,
    pub mirror: String,
    pub security_mirror: String,
    pub suite: String,
    /// HTTP proxy through which packages are fetched.
    pub proxy: Option<String>,
    /// Debian packages beyond the list of the run stack.
    pub extra_packages: Vec<String>,
    /// Debian packages beyond the list of the build stack.
    pub extra_build_packages: Vec<String>,
}

/// What a build may use, and what of the host it sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Build {
    pub timeout: Duration,
    /// Of its dyno; memory and processes below are those of the class `build`.
    pub class: String,
    pub memory_bytes: u64,
    pub pids: u32,
    pub disk_bytes: u64,
    pub cache_bytes: u64,
    /// Mounted read-only over the build stack's `/etc/ssl/certs/ca-certificates.crt`.
    pub ca_bundle: Option<PathBuf>,
    /// Added to a build's environment.
    pub env: BTreeMap<String, String>,
    /// A Rust toolchain of the host, mounted read-only.
    pub rust_toolchain: Option<PathBuf>,
    /// Downloads at hand: the file a build would get from `https://HOST/PATH` as `HOST/PATH`.
    pub mirror: Option<PathBuf>,
    /// Buildpacks asked in this order when an app names none; empty: the bundled order.
    pub buildpacks: Vec<String>,
    /// The operator's buildpacks and names for buildpacks, mounted read-only.
    pub registry: Option<PathBuf>,
    /// How long a buildpack may take to arrive.
    pub fetch_timeout: Duration,
    /// How large it may be as it arrives.
    pub fetch_bytes: u64,
    /// How much of what its programs write is kept.
    pub output_bytes: u64,
}

/// How long a dyno is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// From launch to listening on `$PORT` (R10).
    pub boot_timeout: Duration,
    /// From SIGTERM to SIGKILL (R12), of one-offs too.
    pub stop_grace: Duration,
    /// For a release's `release` process.
    pub release_timeout: Duration,
    /// Dynos are replaced at this age; zero: never.
    pub cycle: Duration,
    /// Web dynos of classes that sleep do so after this long without a request; zero: never.
    pub sleep_after: Duration,
}

impl Patience {
    /// Heroku Dev Center, "Error codes", R10 and R12, "Release Phase" and "Eco Dyno Hours". Its daily
    /// restarts are left out: they hide leaks, and cost whoever has none.
    pub const HEROKU: Self = Self {
        boot_timeout: Duration::from_mins(1),
        stop_grace: Duration::from_secs(30),
        release_timeout: Duration::from_hours(1),
        cycle: Duration::ZERO,
        sleep_after: Duration::from_mins(30),
    };
}

/// How CPU credits are watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Governor {
    /// The load average of a minute, in hundredths for each CPU, at which a step of a roll-out is
    /// taken back.
    pub load_percent: u32,
}

/// How long an upgrade of the platform may take at each point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// For the whole rehearsal on a scratch platform; zero: there is none.
    pub rehearsal: Duration,
    /// From its start until it answers.
    pub start: Duration,
    /// From then on, answering all the time, until it is the good one.
    pub probation: Duration,
    /// Without a good answer in its probation.
    pub silence: Duration,
    /// For builds, releases and attached one-offs to end before it is put on trial.
    pub patience: Duration,
}

/// Limits on what a client may send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Push {
    pub max_bytes: u64,
    /// The files of a commit together; Heroku's limit on a checkout is 1 GB.
    pub unpacked_bytes: u64,
    /// One of them: the git that reads it may have it in memory as a whole.
    pub file_bytes: u64,
    /// A git client that sends nothing for this long is cut off.
    pub idle: Duration,
}

/// How much of an app's output is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logs {
    /// Lines per app that a client can ask for; Heroku keeps 1500.
    pub ring_lines: usize,
    /// Longer lines are split; Heroku splits at 10000 bytes.
    pub line_bytes: usize,
}

/// Where log drains may lead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drains {
    /// Networks that are not public and yet may be drained to.
    pub allow: Vec<lathe_logs::drain::Network>,
    /// The certificate authorities whom drains over TLS trust, in PEM.
    pub authorities: PathBuf,
}

/// The flags that every verb takes.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub data: Option<PathBuf>,
    pub config: Option<PathBuf>,
    /// `key=value` pairs, as given by `--set`.
    pub set: Vec<(String, String)>,
}

impl Flags {
    /// As words of a command line on this data directory.
    pub fn words(&self, data: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--data".into(), absolute(data).into()];
        if let Some(file) = &self.config {
            words.extend(["--config".into(), absolute(file).into()]);
        }
        let set = self.set.iter().map(|(key, value)| format!("{key}={value}").into());
        words.extend(set.flat_map(|pair: OsString| ["--set".into(), pair]));
        words
    }
}

impl Build {
    fn standard(around: &Surroundings) -> Self {
        Self {
            timeout: Duration::from_mins(15),
            class: "build".into(),
            memory_bytes: 4 << 30,
            pids: 4096,
            disk_bytes: 8 << 30,
            cache_bytes: 4 << 30,
            ca_bundle: around.ca_bundle(),
            env: BTreeMap::new(),
            rust_toolchain: around.rust_toolchain(),
            mirror: None,
            buildpacks: Vec::new(),
            registry: None,
            fetch_timeout: Duration::from_secs(90),
            fetch_bytes: 200 << 20,
            output_bytes: 16 << 20,
        }
    }
}

impl Config {
    /// Reads file and environment and puts the flags on top.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let around = Surroundings::of_this_process();
        let mut config = Self::defaults(&around);
        // The data directory says where the file is, so it is looked up first.
        apply::apply_environment(&mut config, &around.environment)?;
        if let Some(data) = &flags.data {
            config.data.clone_from(data);
        }
        let data = config.data.clone();
        let file = flags.config.clone().or_else(|| around.config_file()).or_else(|| {
            let file = data.join("lathe.toml");
            file.exists().then_some(file)
        });

        let mut config = Self::defaults(&around);
        config.data = data;
        if let Some(file) = file {
            apply::apply_file(&mut config, &file)?;
        }
        apply::apply_environment(&mut config, &around.environment)?;
        if let Some(data) = &flags.data {
            config.data.clone_from(data);
        }
        apply::apply_flags(&mut config, &flags.set)?;
        apply::check_classes(&config)?;
        Ok(config)
    }

    /// What holds where nothing is set.
    pub fn defaults(around: &Surroundings) -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data: around.data_dir(),
            listen: Listen {
                api_tls: local(8443),
                api_plain: local(8480),
                rendezvous: local(8444),
                router: SocketAddr::from(([0, 0, 0, 0], 8080)),
                router_tls: SocketAddr::from(([0, 0, 0, 0], 8445)),
            },
            router: RouterPlace::Apart,
            api_host: "localhost".into(),
            apps_domain: "localhost".into(),
            network: Network::DEFAULT,
            engine: EngineKind::Native,
            docker: Docker::debian(),
            stacks: Stacks {
                dir: around.stacks_dir(),
                mirror: "http://deb.debian.org/debian".into(),
                security_mirror: "http://deb.debian.org/debian-security".into(),
                suite: "bookworm".into(),
                proxy: around.http_proxy(),
                extra_packages: Vec::new(),
                extra_build_packages: Vec::new(),
            },
            build: Build::standard(around),
            dynos: Patience::HEROKU,
            classes: Classes::standard(),
            release_class: "Standard-1X".into(),
            room: Policy { memory_percent: 200, cpu_percent: 1600, shared_cpus: 0 },
            governor: Governor { load_percent: 800 },
            upgrade: Upgrade {
                rehearsal: Duration::from_mins(15),
                start: Duration::from_secs(50),
                probation: Duration::from_mins(2),
                silence: Duration::from_secs(5),
                patience: Duration::from_mins(10),
            },
            push: Push {
                max_bytes: 500 * 1000 * 1000,
                unpacked_bytes: 1 << 30,
                file_bytes: 256 << 20,
                idle: Duration::from_mins(1),
            },
            archives: lathe_slug::Limits::default(),
            log: "warn".into(),
            drains: Drains {
                allow: Vec::new(),
                authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
            },
            acme: Acme::default(),
            logs: Logs { ring_lines: 1500, line_bytes: 10_000 },
            free_disk_floor_bytes: 1 << 30,
            kept: None,
            notify_socket: around.environment.get("NOTIFY_SOCKET").cloned(),
        }
    }

    /// Whether a platform could start with these variables in its environment.
    pub fn fits(&self, environment: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let mut config = self.clone();
        apply::apply_environment(&mut config, environment)?;
        apply::check_classes(&config)
    }

    /// Sockets, pids and `endpoints.json`: what is true of the running platform only.
    pub fn run_dir(&self) -> PathBuf {
        self.data.join("run")
    }

    /// What routers start from: certificates, and their keys for the router's user alone.
    pub fn keyring(&self) -> PathBuf {
        self.data.join("cell/router/keyring.json")
    }

    /// Where slugs are kept.
    pub fn slugs_dir(&self) -> PathBuf {
        self.data.join("slugs")
    }

    /// The local authority and the server's certificate.
    pub fn tls_dir(&self) -> PathBuf {
        self.data.join("tls")
    }

    /// The certificate a client must trust.
    pub fn ca_certificate(&self) -> PathBuf {
        self.tls_dir().join("ca.pem")
    }

    /// The token of the owner made at the first start; readable by its user only.
    pub fn owner_token(&self) -> PathBuf {
        self.data.join("owner-token")
    }
}

/// Joins a relative path to the working directory, so that a later `chdir` changes nothing.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests;
