//! One command inside a container, run by the daemon: as its own process is, limits included.

use super::daemon::Trouble;
use super::engine::{Dyno, Shared};
use crate::containers::{EngineError, Ran};
use crate::native::launch;
use crate::output::last_words::LastWords;
use bollard::exec::StartExecResults;
use futures_util::StreamExt;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Between two looks at a command that says nothing more.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn run(
    shared: &Shared,
    dyno: &Dyno,
    command: &str,
    at_most: Duration,
) -> Result<Ran, EngineError> {
    let id = dyno.known.id;
    let failed = |trouble: Trouble| trouble.of(id, "run a command");
    let argv = launch::arguments(None, command);
    let (exec, begun) = shared.daemon.exec(&dyno.container, argv).await.map_err(failed)?;
    let mut words = LastWords::default();
    let ended = async {
        if let StartExecResults::Attached { mut output, .. } = begun {
            while let Some(Ok(piece)) = output.next().await {
                words.hear(piece.as_ref());
            }
        }
        // Who has closed what it says on may go on, and the daemon may have to hear of an end.
        loop {
            let seen = shared.daemon.inspect_exec(&exec).await?;
            if let (Some(false), Some(code)) = (seen.running, seen.exit_code) {
                return Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
            }
            sleep(LOOK).await;
        }
    };
    let status = timeout(at_most, ended).await.ok().transpose().map_err(failed)?;
    if status.is_none() {
        let seen = shared.daemon.inspect_exec(&exec).await.map_err(failed)?;
        end(shared, dyno, seen.pid);
    }
    Ok(Ran { status, last_line: words.line() })
}

/// The daemon has no word for it. The process is one of the dyno's group, and leads a session, as
/// everything that `runc` starts.
fn end(shared: &Shared, dyno: &Dyno, pid: Option<i64>) {
    let processes = shared.group(dyno).processes();
    let named = |process: &&i32| pid.is_some_and(|pid| is_known_as(**process, pid));
    if let Some(process) = processes.iter().find(named) {
        // It may have ended meanwhile.
        let _gone = killpg(Pid::from_raw(*process), Signal::SIGKILL);
    }
}

/// Whether the daemon means this process by that number: it counts as we do, or in a namespace of
/// its own, and never as the container does, whose own number of a process is the last.
fn is_known_as(process: i32, pid: i64) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let numbers: Vec<i64> = numbers.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    numbers.split_last().is_some_and(|(_, others)| others.contains(&pid))
}
