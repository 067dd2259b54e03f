//! A self-hosted platform that is started again whenever it ends, as a service manager does it.

use super::DrillError;
use crate::config::{Config, Flags};
use crate::endpoints::Endpoints;
use crate::host::instance::{self, Dynos, InstanceError};
use crate::roles;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// As `RestartSec` in the unit that `lathe install` writes.
const PAUSE: Duration = Duration::from_secs(1);
/// The first start on a machine builds the stacks.
const UP_PATIENCE: Duration = Duration::from_mins(15);
/// Dynos have 30 s to end by themselves; the rest is for what follows.
const STOP_PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Below those that outgoing connections have (`ip_local_port_range` of ip(7)).
const PORTS: Range<u16> = 20_000..32_000;

#[derive(Debug)]
pub(super) struct Service {
    words: Vec<OsString>,
    ended: CancellationToken,
    managed: JoinHandle<io::Result<()>>,
}

impl Service {
    /// Starts it on this directory; what it says goes to `log`.
    pub(super) fn start(flags: &Flags, data: &Path, log: File) -> Self {
        let (words, ended) = (words(flags, data), CancellationToken::new());
        let managed = tokio::spawn(manage(words.clone(), log, ended.clone()));
        Self { words, ended, managed }
    }

    /// Another verb of the same program, on the same directory.
    pub(super) fn verb(&self) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(&self.words).stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    /// Waits until it says where it listens.
    pub(super) async fn endpoints(&self, config: &Config) -> Result<Endpoints, DrillError> {
        let begun = Instant::now();
        loop {
            if let Ok(endpoints) = Endpoints::read(config) {
                return Ok(endpoints);
            }
            if self.managed.is_finished() || begun.elapsed() > UP_PATIENCE {
                return Err(DrillError::Slow { what: "the platform", after: begun.elapsed() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends it with its dynos, wherever it is: also between an end and the next start.
    pub(super) async fn stop(self, config: &Config) -> Result<(), DrillError> {
        self.ended.cancel();
        loop {
            match stop(config).await {
                Err(DrillError::Instance(InstanceError::NotRunning { .. })) => {}
                stopped => stopped?,
            }
            if self.managed.is_finished() {
                break;
            }
            // One that was started just now is not known yet.
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let ended = roles::end_dynos(config).await;
        ended.map_err(|error| DrillError::at("end its dynos")(io::Error::other(error)))?;
        let managed = self.managed.await;
        managed
            .map_err(io::Error::other)
            .and_then(|run| run)
            .map_err(DrillError::at("run the platform"))
    }
}

async fn stop(config: &Config) -> Result<(), DrillError> {
    let config = config.clone();
    let stopped =
        tokio::task::spawn_blocking(move || instance::stop(&config, Dynos::End, STOP_PATIENCE));
    Ok(stopped.await.map_err(DrillError::at("end the platform"))??)
}

/// As it was called, on a directory and ports of its own. They stay the same when nobody is left who
/// could hand a socket on, and are none that the kernel gives to others meanwhile.
fn words(flags: &Flags, data: &Path) -> Vec<OsString> {
    let doors = ["api_tls", "api_plain", "rendezvous", "router", "router_tls"];
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let first = PORTS.start + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    let ports = (first..PORTS.end).filter(is_free);
    let set = doors.into_iter().zip(ports);
    let set = set.map(|(door, port)| (format!("listen.{door}"), format!("127.0.0.1:{port}")));
    let mut flags = flags.clone();
    flags.set.splice(0..0, set);
    flags.words(data)
}

async fn manage(words: Vec<OsString>, log: File, ended: CancellationToken) -> io::Result<()> {
    let lathe: &Path = &std::env::current_exe()?;
    while !ended.is_cancelled() {
        let mut platform = Command::new(lathe);
        platform.args(&words).args(["up", "--self-hosted", "--no-install"]);
        platform.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        // Signals of the terminal are for the drill, which ends it in order.
        platform.process_group(0);
        platform.spawn()?.wait().await?;
        ended.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }
    Ok(())
}
