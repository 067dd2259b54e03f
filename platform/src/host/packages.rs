//! The programs the platform calls, the Debian packages that bring them, and their installation.

use super::tool::{self, ToolError};
use std::path::Path;
use std::process::Command;

/// Something of a Debian package that the platform cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// A program by name, or a file by absolute path.
    pub what: &'static str,
    pub package: &'static str,
    pub why: &'static str,
}

/// Everything the platform calls or reads that a minimal Debian may lack.
pub const NEEDS: &[Need] = &[
    Need { what: "git", package: "git", why: "receives pushes" },
    Need { what: "nft", package: "nftables", why: "keeps dynos apart on the network" },
    Need { what: "ip", package: "iproute2", why: "gives dynos their network" },
    Need { what: "debootstrap", package: "debootstrap", why: "makes the stacks" },
    Need { what: "gpgv", package: "gpgv", why: "checks what debootstrap fetches" },
    Need {
        what: "/usr/share/keyrings/debian-archive-keyring.gpg",
        package: "debian-archive-keyring",
        why: "holds Debian's keys for that check",
    },
    Need { what: "mkfs.ext4", package: "e2fsprogs", why: "makes build caches of bounded size" },
    Need { what: "unshare", package: "util-linux", why: "isolates the making of stacks" },
    Need { what: "mount", package: "mount", why: "mounts the trees of dynos" },
    Need { what: "tar", package: "tar", why: "unpacks what buildpacks fetch" },
    Need { what: "curl", package: "curl", why: "fetches buildpacks" },
    Need {
        what: "/etc/ssl/certs/ca-certificates.crt",
        package: "ca-certificates",
        why: "lets builds trust package registries",
    },
];

/// Where Debian keeps programs, for users too whose `PATH` has no `sbin`.
const PROGRAM_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Why packages were not installed.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    #[error("this machine lacks {}", packages.join(" "))]
    Missing { packages: Vec<&'static str> },
    #[error("this machine lacks {}, and installing takes root", packages.join(" "))]
    NotRoot { packages: Vec<&'static str> },
    #[error("this machine lacks {}, and it has no apt-get", packages.join(" "))]
    NotDebian { packages: Vec<&'static str> },
    #[error("cannot install {}", packages.join(" "))]
    Install {
        packages: Vec<&'static str>,
        #[source]
        source: ToolError,
    },
    #[error("{} is still not there after its package was installed", need.what)]
    StillMissing { need: Need },
}

impl PackagesError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Missing { packages } | Self::NotRoot { packages } => format!(
                "As root:\n\
                 apt-get update && apt-get install --no-install-recommends {}",
                packages.join(" ")
            ),
            Self::NotDebian { .. } => {
                "Lathe is made for Debian 12. Elsewhere, install the programs that \
                 `lathe doctor` names by the system's own means."
                    .into()
            }
            Self::Install { source, .. } => source.remedy(),
            Self::StillMissing { need } => {
                format!("See `dpkg --verify {}`.", need.package)
            }
        }
    }
}

/// What of the needs this machine lacks.
pub fn missing() -> Vec<Need> {
    missing_of(NEEDS, &is_there)
}

fn missing_of(needs: &[Need], is_there: &dyn Fn(&str) -> bool) -> Vec<Need> {
    needs.iter().filter(|need| !is_there(need.what)).copied().collect()
}

fn is_there(what: &str) -> bool {
    if what.starts_with('/') {
        return Path::new(what).exists();
    }
    PROGRAM_DIRS.iter().any(|dir| Path::new(dir).join(what).is_file())
}

/// Refuses when something is missing; the mirror of `install` for those who do it themselves.
pub fn require() -> Result<(), PackagesError> {
    let packages: Vec<_> = missing().iter().map(|need| need.package).collect();
    if packages.is_empty() { Ok(()) } else { Err(PackagesError::Missing { packages }) }
}

/// Installs what the platform lacks, saying which package is for what. Does nothing when nothing is.
pub fn install(progress: &mut dyn FnMut(&str)) -> Result<(), PackagesError> {
    install_of(NEEDS, progress)
}

/// The same for what only somebody else needs: the rivals of a measurement.
pub fn install_of(all: &[Need], progress: &mut dyn FnMut(&str)) -> Result<(), PackagesError> {
    let needs = missing_of(all, &is_there);
    if needs.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = needs.iter().map(|need| need.package).collect();
    if !nix::unistd::geteuid().is_root() {
        return Err(PackagesError::NotRoot { packages });
    }
    if !is_there("apt-get") {
        return Err(PackagesError::NotDebian { packages });
    }
    for need in &needs {
        progress(&format!("installing {}: {}", need.package, need.why));
    }
    // One broken source among the host's own need not keep the others from delivering; if what
    // we need does not come, the installation fails and says so.
    if let Err(error) = tool::run("apt-get", apt(&["update"]), &mut |_| ()) {
        progress(&format!("{error}; going on with the package lists there are"));
    }
    let mut command = apt(&[
        "install",
        "--yes",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=120",
        "--",
    ]);
    command.args(&packages);
    tool::run("apt-get", command, &mut |line| {
        if line.starts_with("Setting up ") {
            progress(line);
        }
    })
    .map_err(|source| PackagesError::Install { packages, source })?;
    match missing_of(all, &is_there).first() {
        Some(need) => Err(PackagesError::StillMissing { need: *need }),
        None => Ok(()),
    }
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args(["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_names_its_package() {
        let bare = missing_of(NEEDS, &|what| !["nft", "mkfs.ext4"].contains(&what));
        let packages: Vec<_> = bare.iter().map(|need| need.package).collect();
        assert_eq!(packages, ["nftables", "e2fsprogs"]);
        assert!(missing_of(NEEDS, &|_| true).is_empty());
    }

    #[test]
    fn programs_are_found_in_sbin_and_files_by_path() {
        assert!(is_there("sh") && is_there("/bin/sh"));
        assert!(!is_there("no-such-program") && !is_there("/no/such/file"));
    }
}
