//! What the process finds around itself when it starts: its environment, its user, its host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The host as far as defaults depend on it; a value, so that tests can make one up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    pub environment: BTreeMap<String, String>,
    pub root: bool,
    /// What `rustc --print sysroot` says, when there is a `rustc`.
    pub rust_sysroot: Option<PathBuf>,
}

impl Surroundings {
    /// Reads the environment; the only place that does.
    pub fn of_this_process() -> Self {
        Self {
            environment: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            root: nix::unistd::geteuid().is_root(),
            rust_sysroot: rust_sysroot(),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    pub(super) fn config_file(&self) -> Option<PathBuf> {
        self.path("LATHE_CONFIG")
    }

    /// `/var/lib/lathe` for root, else the user's own data directory (XDG base directories).
    pub(super) fn data_dir(&self) -> PathBuf {
        self.home_dir("XDG_DATA_HOME", ".local/share", Path::new("/var/lib/lathe"))
    }

    pub(super) fn stacks_dir(&self) -> PathBuf {
        self.home_dir("XDG_CACHE_HOME", ".cache", Path::new("/var/cache/lathe")).join("stacks")
    }

    pub(super) fn http_proxy(&self) -> Option<String> {
        self.environment.get("http_proxy").filter(|proxy| !proxy.is_empty()).cloned()
    }

    fn home_dir(&self, variable: &str, below_home: &str, of_root: &Path) -> PathBuf {
        if self.root {
            return of_root.to_path_buf();
        }
        let home = || self.path("HOME").map(|home| home.join(below_home));
        self.path(variable)
            .or_else(home)
            .map_or_else(|| of_root.to_path_buf(), |base| base.join("lathe"))
    }

    /// A host that names its own bundle is in a network whose authority builds must trust too.
    pub(super) fn ca_bundle(&self) -> Option<PathBuf> {
        ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"]
            .iter()
            .filter_map(|name| self.path(name))
            .find(|path| path.is_file())
    }

    pub(super) fn rust_toolchain(&self) -> Option<PathBuf> {
        self.rust_sysroot.clone().filter(|sysroot| sysroot.join("bin/cargo").is_file())
    }
}

fn rust_sysroot() -> Option<PathBuf> {
    let said = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let path = String::from_utf8(said.stdout).ok()?;
    said.status.success().then(|| PathBuf::from(path.trim()))
}
