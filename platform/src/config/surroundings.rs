//! What the process finds around itself when it starts: its environment, its user, its host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The host as far as defaults depend on it; a value, so that tests can make one up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Surroundings {
    pub environment: BTreeMap<String, String>,
    pub root: bool,
    /// Rust's own directory, when there is a Rust.
    pub rust_sysroot: Option<PathBuf>,
}

impl Surroundings {
    /// Reads the environment; the only place that does.
    pub fn of_this_process() -> Self {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            rust_sysroot: rustup_default(&environment).or_else(rustc_sysroot),
            environment,
            root: nix::unistd::geteuid().is_root(),
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

/// The directory of rustup's default toolchain. Asking its `rustc` takes a fifth of a second, which
/// every verb would wait for (The rustup book, "Environment variables" and "Settings").
fn rustup_default(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let home = match environment.get("RUSTUP_HOME") {
        Some(home) => PathBuf::from(home),
        None => Path::new(environment.get("HOME")?).join(".rustup"),
    };
    let settings = || std::fs::read_to_string(home.join("settings.toml")).ok()?.parse().ok();
    let set = |settings: toml::Table| Some(settings.get("default_toolchain")?.as_str()?.to_owned());
    let name = environment.get("RUSTUP_TOOLCHAIN").cloned().or_else(|| settings().and_then(set))?;
    // One that is named in short is for rustup to find.
    Some(home.join("toolchains").join(name)).filter(|sysroot| sysroot.join("bin/rustc").is_file())
}

fn rustc_sysroot() -> Option<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_toolchain_is_where_rustup_says() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("rustup");
        for name in ["1.95.0-x", "stable-x"] {
            std::fs::create_dir_all(home.join("toolchains").join(name).join("bin")).unwrap();
            std::fs::write(home.join("toolchains").join(name).join("bin/rustc"), "").unwrap();
        }
        let settings = |text: &str| std::fs::write(home.join("settings.toml"), text).unwrap();
        let found = |variables: &[(&str, &str)]| {
            let mut environment =
                BTreeMap::from([("RUSTUP_HOME".to_owned(), home.display().to_string())]);
            environment.extend(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
            let found = rustup_default(&environment)?;
            Some(found.file_name()?.to_str()?.to_owned())
        };
        assert_eq!(found(&[]), None);
        settings("default_toolchain = \"stable-x\"\n[overrides]\n");
        assert_eq!(found(&[]).as_deref(), Some("stable-x"));
        assert_eq!(found(&[("RUSTUP_TOOLCHAIN", "1.95.0-x")]).as_deref(), Some("1.95.0-x"));
        for unknown in ["default_toolchain = \"stable\"", "version = \"12\"", "not toml"] {
            settings(unknown);
            assert_eq!(found(&[]), None, "{unknown}");
        }
    }
}
