//! The processes that a platform consists of, found from outside.

use super::DrillError;
use crate::config::Config;
use crate::endpoints::Endpoints;
use crate::host::instance;
use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a self-hosted platform is made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    Keeper,
    Platform,
    Spawner,
    Router,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [Self::Keeper, Self::Platform, Self::Spawner, Self::Router];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Platform => "platform",
            Self::Spawner => "spawner",
            Self::Router => "router",
        }
    }

    /// Its processes at this moment: none while it is dead, two of a router that takes over.
    pub(super) fn processes(
        self,
        config: &Config,
        endpoints: &Endpoints,
    ) -> Result<Vec<i32>, DrillError> {
        match self {
            Self::Keeper => holder(&instance::keeper_dir(&config.data)),
            Self::Platform => holder(&config.data),
            Self::Spawner => {
                let cell = config.data.join("cell");
                let words = ["spawner", "--dir", &cell.to_string_lossy()].map(str::to_owned);
                processes(|pid| arguments(pid).get(1..4) == Some(&words[..]))
            }
            // Others hold its socket, too; it is the one that routes.
            Self::Router => {
                let Some(socket) = listening(endpoints.router.port())? else {
                    return Ok(Vec::new());
                };
                let routes = |pid| arguments(pid).get(1).is_some_and(|verb| verb == "router");
                processes(|pid| routes(pid) && holds(pid, &socket))
            }
        }
    }
}

/// Kills all of these at once, as nobody can resist, and waits until they are dead, which is later than
/// that was asked. Gives when, for each process: what came of it came after that.
pub(super) async fn kill(
    parts: &[Part],
    config: &Config,
    endpoints: &Endpoints,
) -> Result<Vec<(Part, Instant)>, DrillError> {
    let mut condemned = Vec::new();
    for part in parts {
        let processes = part.processes(config, endpoints)?;
        condemned.extend(processes.into_iter().map(|pid| (*part, pid)));
    }
    let mut kills = Vec::new();
    for (part, pid) in &condemned {
        kills.push((*part, Instant::now()));
        match signal::kill(Pid::from_raw(*pid), Signal::SIGKILL) {
            // It has ended by itself since.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(DrillError::at("kill a part of the platform")(error)),
        }
    }
    for (part, pid) in condemned {
        while part.processes(config, endpoints)?.contains(&pid) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(kills)
}

fn holder(dir: &Path) -> Result<Vec<i32>, DrillError> {
    Ok(instance::holder(dir)?.into_iter().collect())
}

fn processes(wanted: impl Fn(i32) -> bool) -> Result<Vec<i32>, DrillError> {
    let all = fs::read_dir("/proc").map_err(DrillError::at("list the processes"))?;
    let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter(|pid| wanted(*pid)).collect())
}

/// A process's command line; nothing of one that has ended.
fn arguments(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0);
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The socket that listens on this port of the host, as descriptors of processes name it (`proc(5)`,
/// `/proc/net/tcp`).
fn listening(port: u16) -> Result<Option<String>, DrillError> {
    let read = |file: &str| fs::read_to_string(file).map_err(DrillError::at("list the sockets"));
    Ok(socket_of(&read("/proc/net/tcp")?, port).or(socket_of(&read("/proc/net/tcp6")?, port)))
}

fn socket_of(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let listens = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let found = fields.get(1)?.ends_with(&listens) && *fields.get(3)? == LISTEN;
        found.then_some(format!("socket:[{}]", fields.get(9)?))
    })
}

fn holds(pid: i32, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let targets = descriptors.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.into_iter().any(|target| target.as_os_str() == socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listening_socket_is_found_and_who_holds_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = listening(port).unwrap().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(holds(own, &socket));
        assert!(!holds(1, &socket));
        let connected = "  1: 0100007F:1F90 0100007F:9C40 01 0:0 0:0 0 0 0 4711 1\n";
        assert_eq!(socket_of(connected, 8080), None, "a connection listens to nobody");
        assert_eq!(socket_of("  sl  local_address\n 0: ", 8080), None);
    }
}
