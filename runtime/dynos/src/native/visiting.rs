//! Has a command run inside a dyno: the engine's part of it.

use super::engine::Shared;
use super::visitor::{Errand, Told};
use crate::containers::{EngineError, Ran};
use crate::spec::DynoId;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

/// Beyond the command's own time: the visitor ends it in time by itself.
const GRACE: Duration = Duration::from_secs(5);

/// More than a visitor ever tells.
const TOLD_BYTES_MAX: u64 = 16 << 10;

pub(super) async fn run(
    shared: &Shared,
    id: DynoId,
    command: &str,
    at_most: Duration,
) -> Result<Ran, EngineError> {
    let group = match shared.dynos().get(id) {
        Some(dyno) => dyno.record.group(),
        None => return Err(EngineError::Unknown(id)),
    };
    let mut groups = shared.cgroups.of(group).membership();
    groups.v1.extend(shared.cpusets.shared());
    let errand = Errand { dyno: id, groups, command: command.to_owned(), at_most };
    let failed = |step: &str, source| EngineError::Failed { id, step: step.to_owned(), source };
    match timeout(at_most + GRACE, send(shared, &errand)).await {
        Ok(Ok(Told::Ran { status, last_line })) => Ok(Ran { status, last_line }),
        Ok(Ok(Told::Failed(failure))) => Err(failed(&failure.step, failure.error())),
        Ok(Err(source)) => Err(failed("send a visitor", source)),
        Err(_) => Err(failed("wait for a visitor", io::ErrorKind::TimedOut.into())),
    }
}

/// Whoever gives up waiting ends the visitor.
async fn send(shared: &Shared, errand: &Errand) -> io::Result<Told> {
    let mut visitor = Command::new(&shared.config.lathe)
        .arg("visitor")
        .arg("--dir")
        .arg(&shared.config.dir)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = visitor.stdin.take() {
        stdin.write_all(&serde_json::to_vec(errand)?).await?;
    }
    let mut told = Vec::new();
    if let Some(stdout) = visitor.stdout.take() {
        stdout.take(TOLD_BYTES_MAX).read_to_end(&mut told).await?;
    }
    visitor.wait().await?;
    Ok(serde_json::from_slice(&told)?)
}
