//! The table of settings.

use super::shown::{joined, maybe, maybe_path, networks_shown, path, seconds, text};
use super::{Config, value};

/// One setting: its name in file and flags, and how to set and show it.
#[derive(Debug)]
pub struct Setting {
    /// `listen.router` in the file and in `--set`; `LATHE_LISTEN_ROUTER` in the environment.
    pub key: &'static str,
    pub about: &'static str,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    pub show: fn(&Config) -> String,
}

impl Setting {
    pub fn variable(&self) -> String {
        format!("LATHE_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }
}

macro_rules! setting {
    ($key:literal, $about:literal, $config:ident.$($field:ident).+ = $parse:expr, $show:expr) => {
        Setting {
            key: $key,
            about: $about,
            set: |$config, text| {
                $config.$($field).+ = $parse(text)?;
                Ok(())
            },
            show: |$config| $show(&$config.$($field).+),
        }
    };
}

/// All settings but `build.env.NAME`, which is one for each name.
pub const SETTINGS: &[Setting] = &[
    setting!(
        "data",
        "directory of everything that must not be lost",
        c.data = value::directory,
        path
    ),
    setting!(
        "listen.api_tls",
        "API, git and log sessions over TLS",
        c.listen.api_tls = value::address,
        text
    ),
    setting!(
        "listen.api_plain",
        "the same in plain HTTP; loopback only",
        c.listen.api_plain = value::loopback,
        text
    ),
    setting!(
        "listen.rendezvous",
        "where clients meet one-off dynos; TLS",
        c.listen.rendezvous = value::address,
        text
    ),
    setting!("listen.router", "requests for apps", c.listen.router = value::address, text),
    setting!(
        "listen.router_tls",
        "requests for apps over TLS",
        c.listen.router_tls = value::address,
        text
    ),
    setting!(
        "router",
        "apart: a dyno of its own, which outlives the platform's process; inside: part of that",
        c.router = value::router_place,
        text
    ),
    setting!("api_host", "host name in URLs given to clients", c.api_host = value::host_name, text),
    setting!(
        "apps_domain",
        "apps are served at NAME.<this>",
        c.apps_domain = value::host_name,
        text
    ),
    setting!(
        "acme.email",
        "address for the certificate authority's notices; none: no automatic certificates",
        c.acme.email = value::maybe_email,
        maybe
    ),
    setting!(
        "acme.directory",
        "URL of the certificate authority (RFC 8555)",
        c.acme.directory = value::https_url,
        text
    ),
    setting!(
        "acme.authorities",
        "certificate authorities trusted when that URL is asked, a file in PEM",
        c.acme.authorities = value::directory,
        path
    ),
    setting!("network", "addresses of dynos", c.network = value::network, text),
    setting!("engine", "what runs apps' dynos: native or docker", c.engine = value::engine, text),
    setting!("docker.socket", "the Docker daemon's", c.docker.socket = value::directory, path),
    setting!(
        "docker.network",
        "addresses of dynos that the Docker daemon runs",
        c.docker.network = value::network,
        text
    ),
    setting!(
        "docker.registry",
        "host by which the Docker daemon reaches listen.api_tls; none: listen.api_plain",
        c.docker.registry = value::maybe_host,
        maybe
    ),
    setting!(
        "free_disk_floor",
        "refuse pushes when less disk is free",
        c.free_disk_floor_bytes = value::bytes,
        text
    ),
    setting!(
        "stacks.dir",
        "where base file systems are kept",
        c.stacks.dir = value::directory,
        path
    ),
    setting!("stacks.mirror", "Debian mirror", c.stacks.mirror = value::http_url, text),
    setting!(
        "stacks.security_mirror",
        "Debian mirror of security updates",
        c.stacks.security_mirror = value::http_url,
        text
    ),
    setting!(
        "stacks.proxy",
        "HTTP proxy for fetching packages",
        c.stacks.proxy = value::proxy,
        maybe
    ),
    setting!("stacks.suite", "Debian release of the stacks", c.stacks.suite = value::suite, text),
    setting!(
        "stacks.extra_packages",
        "more packages in the run stack",
        c.stacks.extra_packages = value::packages,
        joined
    ),
    setting!(
        "stacks.extra_build_packages",
        "more packages in the build stack",
        c.stacks.extra_build_packages = value::packages,
        joined
    ),
    setting!(
        "build.timeout",
        "seconds a build may take",
        c.build.timeout = value::seconds,
        seconds
    ),
    setting!("build.class", "dyno class of a build", c.build.class = value::class, text),
    setting!("build.memory", "memory of a build", c.build.memory_bytes = value::bytes, text),
    setting!("build.pids", "processes and threads of a build", c.build.pids = value::pids, text),
    setting!("build.disk", "disk a build may write", c.build.disk_bytes = value::bytes, text),
    setting!(
        "build.cache",
        "disk of an app's build cache",
        c.build.cache_bytes = value::bytes,
        text
    ),
    setting!(
        "build.ca_bundle",
        "certificates that builds trust; none: the stack's own",
        c.build.ca_bundle = value::existing,
        maybe_path
    ),
    setting!(
        "build.rust_toolchain",
        "Rust toolchain of the host for builds",
        c.build.rust_toolchain = value::existing,
        maybe_path
    ),
    setting!(
        "build.mirror",
        "folder of downloads for builds, each as HOST/PATH of its URL; none: all from the network",
        c.build.mirror = value::existing,
        maybe_path
    ),
    setting!(
        "build.buildpacks",
        "buildpacks tried when an app names none; empty: all",
        c.build.buildpacks = value::list,
        joined
    ),
    setting!(
        "build.registry",
        "directory of more buildpacks, with their names in a file `aliases`",
        c.build.registry = value::existing,
        maybe_path
    ),
    setting!(
        "build.fetch_timeout",
        "seconds a buildpack may take to arrive",
        c.build.fetch_timeout = value::seconds,
        seconds
    ),
    setting!(
        "build.fetch_max",
        "largest file that fetching a buildpack may make",
        c.build.fetch_bytes = value::bytes,
        text
    ),
    setting!(
        "build.output",
        "output of a build that is kept",
        c.build.output_bytes = value::bytes,
        text
    ),
    setting!(
        "dynos.boot_timeout",
        "seconds a web dyno may take to listen on $PORT",
        c.dynos.boot_timeout = value::seconds,
        seconds
    ),
    setting!(
        "dynos.stop_grace",
        "seconds a dyno may take to end after SIGTERM",
        c.dynos.stop_grace = value::seconds,
        seconds
    ),
    setting!(
        "dynos.release_timeout",
        "seconds a release process may take",
        c.dynos.release_timeout = value::seconds,
        seconds
    ),
    setting!(
        "dynos.cycle",
        "seconds after which a dyno is replaced, up to 15 % later; 0: never",
        c.dynos.cycle = value::seconds_or_never,
        seconds
    ),
    setting!(
        "dynos.sleep_after",
        "seconds without a request after which Free and Eco apps sleep; 0: never",
        c.dynos.sleep_after = value::seconds_or_never,
        seconds
    ),
    setting!(
        "dynos.release_class",
        "dyno class of the release phase",
        c.release_class = value::class,
        text
    ),
    setting!(
        "dynos.memory_percent",
        "percent of the machine's memory that may be promised to dynos",
        c.room.memory_percent = value::percent,
        text
    ),
    setting!(
        "dynos.cpu_percent",
        "percent of the machine's CPUs that may be promised to dynos",
        c.room.cpu_percent = value::percent,
        text
    ),
    setting!(
        "dynos.shared_cpus",
        "CPUs that no dyno may have to itself",
        c.room.shared_cpus = value::cpus,
        text
    ),
    setting!(
        "governor.load_percent",
        "load for each CPU, in hundredths, at which enforced CPU credits are taken back",
        c.governor.load_percent = value::percent,
        text
    ),
    setting!(
        "upgrade.rehearsal",
        "seconds the rehearsal of another version of the platform may take; 0: there is none",
        c.upgrade.rehearsal = value::seconds_or_never,
        seconds
    ),
    setting!(
        "upgrade.start",
        "seconds it may take to answer, in its rehearsal and on trial",
        c.upgrade.start = value::seconds,
        seconds
    ),
    setting!(
        "upgrade.probation",
        "seconds it has to answer all the time, or is taken back",
        c.upgrade.probation = value::seconds,
        seconds
    ),
    setting!(
        "upgrade.silence",
        "seconds without a good answer for which it is taken back",
        c.upgrade.silence = value::seconds,
        seconds
    ),
    setting!(
        "upgrade.patience",
        "seconds it may wait for builds, releases and attached one-offs; 0: for nobody",
        c.upgrade.patience = value::seconds_or_never,
        seconds
    ),
    setting!("push.max", "largest push or source archive", c.push.max_bytes = value::bytes, text),
    setting!(
        "push.unpacked",
        "files of a commit, together",
        c.push.unpacked_bytes = value::bytes,
        text
    ),
    setting!("push.file", "largest file of a commit", c.push.file_bytes = value::bytes, text),
    setting!(
        "archive.compressed",
        "largest slug",
        c.archives.compressed_bytes_max = value::bytes,
        text
    ),
    setting!(
        "archive.unpacked",
        "largest slug, source or buildpack, unpacked",
        c.archives.unpacked_bytes_max = value::bytes,
        text
    ),
    setting!(
        "archive.entries",
        "files, folders and links in a slug, source or buildpack",
        c.archives.entries_max = value::entries,
        text
    ),
    setting!(
        "archive.path",
        "bytes of a path in one",
        c.archives.path_bytes_max = value::path_bytes,
        text
    ),
    setting!("archive.depth", "levels of a path in one", c.archives.depth_max = value::depth, text),
    setting!(
        "archive.header",
        "bytes of a header in one",
        c.archives.extension_bytes_max = value::header_bytes,
        text
    ),
    setting!(
        "push.idle",
        "seconds after which a silent git client is cut off",
        c.push.idle = value::seconds,
        seconds
    ),
    setting!(
        "log",
        "the platform's own log, as in info,lathe_router=debug",
        c.log = value::log,
        text
    ),
    setting!(
        "logs.ring_lines",
        "lines kept for each app",
        c.logs.ring_lines = value::ring_lines,
        text
    ),
    setting!(
        "drains.allow",
        "networks that are not public and may be drained to, such as 10.0.0.0/8",
        c.drains.allow = value::networks,
        networks_shown
    ),
    setting!(
        "drains.authorities",
        "certificate authorities that drains trust, a file in PEM",
        c.drains.authorities = value::directory,
        path
    ),
    setting!(
        "logs.line_bytes",
        "longer lines are split",
        c.logs.line_bytes = value::line_bytes,
        text
    ),
];
