//! Commands for Debian's tools, in namespaces that end with this process.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// Where and how tools run: the tree they work on, and the proxy through which they fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jail<'a> {
    pub(super) root: &'a Path,
    pub(super) proxy: Option<&'a str>,
}

impl Jail<'_> {
    /// A program of the host; it is given the tree as an argument.
    pub(super) fn outside(&self, program: &str) -> Command {
        self.namespaced(&[], program)
    }

    /// A program of the tree itself, with the tree as its root and a `/proc`.
    pub(super) fn inside(&self, program: &str) -> Command {
        let mut mount_proc = OsString::from("--mount-proc=");
        mount_proc.push(self.root.join("proc"));
        let chroot = [mount_proc.as_os_str(), OsStr::new("chroot"), self.root.as_os_str()];
        self.namespaced(&chroot, program)
    }

    /// Wraps a program so that it and all it starts die with this process, and so that what it
    /// mounts is seen by nobody else and gone when it ends.
    fn namespaced(&self, before: &[&OsStr], program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child"])
            .args(before)
            .arg(program)
            .current_dir("/")
            .env_clear()
            .envs(ENVIRONMENT.iter().copied());
        if let Some(proxy) = self.proxy {
            command.env("http_proxy", proxy).env("https_proxy", proxy);
        }
        command
    }
}

/// Nothing of the operator's own environment reaches package scripts.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
];
