//! `lathe install`: a systemd service that starts the platform with the machine.

use super::say::say;
use super::{CliError, up};
use crate::config::{Config, Flags};
use crate::host::tool::{self, ToolError};
use clap::Args;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "/usr/local/bin/lathe";
const UNIT: &str = "/etc/systemd/system/lathe.service";

/// What the service is to be.
#[derive(Debug, Args)]
pub(super) struct Install {
    /// Only print the unit
    #[arg(long)]
    print: bool,
    /// Have it run the version of Lathe that is the release of app `lathe`
    #[arg(long)]
    self_hosted: bool,
}

/// Why the service is not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("installing a service takes root")]
    NotRoot,
    #[error("cannot find this program's own file")]
    Program(#[source] io::Error),
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the path {} cannot stand in a unit file", path.display())]
    Path { path: PathBuf },
    #[error("systemd does not take the service")]
    Systemd(#[source] ToolError),
}

impl InstallError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::NotRoot => "Run `sudo lathe install`, or see `lathe install --print`.".into(),
            Self::Program(_) => "Start it by its full path.".into(),
            Self::Write { .. } => "Check that the file system is writable.".into(),
            Self::Path { .. } => "Use a path without control characters.".into(),
            Self::Systemd(_) => "See `systemctl status lathe` and `journalctl -u lathe`.".into(),
        }
    }
}

/// Puts the program in place, writes the unit, and starts it where systemd runs.
pub(super) fn install(config: &Config, flags: &Flags, how: &Install) -> Result<(), CliError> {
    let unit = unit(&config.data, flags, how.self_hosted)?;
    if how.print {
        say!("{}", unit.trim_end());
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(InstallError::NotRoot.into());
    }
    up::prepare_host(false)?;
    let own = std::env::current_exe().map_err(InstallError::Program)?;
    if own != Path::new(PROGRAM) {
        let program = fs::read(&own).map_err(InstallError::Program)?;
        replace(Path::new(PROGRAM), &program, 0o755)?;
        say!("       {PROGRAM}: this program");
    }
    replace(Path::new(UNIT), unit.as_bytes(), 0o644)?;
    say!("       {UNIT}: starts it with the machine");
    if !Path::new("/run/systemd/system").exists() {
        say!("       systemd does not run here; the service starts where it does.");
        return Ok(());
    }
    say!("       Starting it; the first time that makes the stacks, which takes minutes.");
    // Not `enable --now`: where an older program of this name runs, this one shall take its place.
    for arguments in
        [&["daemon-reload"][..], &["enable", "lathe.service"], &["restart", "lathe.service"]]
    {
        let mut command = Command::new("systemctl");
        command.args(arguments);
        tool::run("systemctl", command, &mut |line| say!("       {line}"))
            .map_err(InstallError::Systemd)?;
    }
    say!("       It runs. See `journalctl -u lathe`, and `eval \"$(lathe env)\"` for clients.");
    Ok(())
}

/// `KillMode=process` and `Delegate=yes`: a restart ends the control plane and leaves the dynos
/// and their cgroups to it. Dynos' groups do not lie below the unit's but in `lathe-<instance>` at
/// the root of each hierarchy, so that stopping the unit cannot remove them; what is delegated is
/// the unit's own group, which systemd then leaves alone while the spawner is in it.
fn unit(data: &Path, given: &Flags, self_hosted: bool) -> Result<String, InstallError> {
    let mut flags = format!("--data {}", quoted(data)?);
    if let Some(file) = &given.config {
        let file = std::path::absolute(file).map_err(InstallError::Program)?;
        write!(flags, " --config {}", quoted(&file)?).ok();
    }
    for (key, value) in &given.set {
        write!(flags, " --set {}", quoted(Path::new(&format!("{key}={value}")))?).ok();
    }
    let up = if self_hosted { "up --self-hosted" } else { "up" };
    Ok(format!(
        "[Unit]\n\
         Description=Lathe, a platform for apps\n\
         Wants=network-online.target\n\
         After=network-online.target nftables.service\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={PROGRAM} {flags} {up}\n\
         Restart=always\n\
         RestartSec=1\n\
         KillMode=process\n\
         Delegate=yes\n\
         TimeoutStartSec=infinity\n\
         TimeoutStopSec=90\n\
         LimitNOFILE=1048576\n\
         TasksMax=infinity\n\
         OOMScoreAdjust=-900\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    ))
}

/// A word of systemd's own quoting (systemd.service(5), "Command lines").
fn quoted(path: &Path) -> Result<String, InstallError> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| InstallError::Path { path: path.to_path_buf() })?;
    let escaped =
        text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

/// Renamed into place: the running program's file must not be written to.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), InstallError> {
    lathe_slug::fs::atomic_write(path, bytes, mode)
        .map_err(|source| InstallError::Write { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_in_the_unit() {
        let set = vec![("apps_domain".into(), "example.com".into())];
        let flags = Flags { set, ..Flags::default() };
        let unit = unit(Path::new("/srv/my \"data\" 100%"), &flags, false).unwrap();
        assert!(
            unit.contains(r#"--data "/srv/my \"data\" 100%%" --set "apps_domain=example.com" up"#),
            "{unit}"
        );
        assert!(!unit.contains("self-hosted"));
        let kept = super::unit(Path::new("/srv"), &Flags::default(), true).unwrap();
        let line = "ExecStart=/usr/local/bin/lathe --data \"/srv\" up --self-hosted\n";
        // The keeper says that it is ready, stays the same process, and is started again, for ever.
        let others = ["Type=notify\n", "Restart=always\n", "StartLimitIntervalSec=0\n"];
        for part in others.into_iter().chain([line, "KillMode=process\n"]) {
            assert!(kept.contains(part), "{part} in {kept}");
        }
        assert!(quoted(Path::new("/a\nExecStartPre=/bin/evil")).is_err());
    }
}
