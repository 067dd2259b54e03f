//! `crun run`, where it is installed: a container runtime in C that makes one container and ends.
//!
//! Its root is a plain directory, read-only, with the program and nothing else: there is no layer
//! to be mounted first, which is in its favour. No network of its own, crun's usual filter.

use super::figures::Sample;
use super::ready::Ready;
use super::{BenchError, probe};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::json;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

pub(super) struct Crun {
    dir: PathBuf,
    count: u32,
}

impl Crun {
    /// Absent with the reason why, when it is not installed or cannot make a container here.
    pub(super) fn open(ready: &Ready) -> Result<Result<Self, String>, BenchError> {
        let dir = ready.dir.join("crun");
        let root = dir.join("bundle/rootfs");
        for name in ["dev", "proc", "sys"] {
            fs::create_dir_all(root.join(name)).map_err(BenchError::at("make a bundle"))?;
        }
        probe::install(&root)?;
        fs::write(dir.join("bundle/config.json"), config().to_string())
            .map_err(BenchError::at("make a bundle"))?;
        let mut crun = Self { dir, count: 0 };
        match crun.run() {
            Ok(_) => Ok(Ok(crun)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Err("not installed".into()))
            }
            // As on machines with version 1 of control groups and a version 2 with controllers.
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    pub(super) fn start(&mut self) -> Result<Sample, BenchError> {
        self.run().map_err(BenchError::at("run crun"))
    }

    fn run(&mut self) -> io::Result<Sample> {
        self.count += 1;
        let id = format!("lathe-bench-{}-{}", std::process::id(), self.count);
        let (before, begin) = (cpu_of_children(), probe::now());
        let output = Command::new("crun")
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(["run", "--bundle"])
            .arg(self.dir.join("bundle"))
            .arg(id)
            .stdin(Stdio::null())
            .output()?;
        let told = <[u8; 16]>::try_from(output.stdout.as_slice()).map_err(|_| {
            io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        })?;
        let exec = probe::read(told).saturating_sub(begin);
        Ok(Sample { exec, cpu: Some(cpu_of_children().saturating_sub(before)) })
    }
}

/// As `crun spec` writes it, for our program (OCI runtime specification).
fn config() -> serde_json::Value {
    let mount = |kind: &str, at: &str| json!({ "destination": at, "type": kind, "source": kind });
    let spaces = ["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.0.0",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": [format!("/{}", probe::NAME)],
            "cwd": "/",
            "capabilities": {},
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "mounts": [mount("proc", "/proc"), mount("tmpfs", "/dev")],
        "linux": {
            "namespaces": spaces,
            "resources": { "memory": { "limit": 512 << 20 }, "pids": { "limit": 256 } },
        },
    })
}

/// Of every child this process has waited for; while crun runs it waits for no other.
fn cpu_of_children() -> Duration {
    let sum = getrusage(UsageWho::RUSAGE_CHILDREN)
        .map_or(0, |used| (used.user_time() + used.system_time()).num_microseconds());
    Duration::from_micros(u64::try_from(sum).unwrap_or_default())
}
