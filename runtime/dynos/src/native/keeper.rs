//! Keeps a spawner at the engine's side: finds it, starts it, replaces it when it has died.

use super::engine::Shared;
use super::link::Link;
use super::wire::{Answer, Message, Order, VERSION};
use super::{exits, sockets};
use crate::spec::DynoId;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Between two attempts to reach a spawner.
const PAUSE: Duration = Duration::from_millis(10);

/// Spawners that were started have this many attempts to open their socket.
const PATIENCE: u32 = 500;
/// As often another one is started when the last has given way.
const LAUNCH_EVERY: u32 = 10;

/// Where the spawner says why it could not begin.
pub(super) fn log(dir: &Path) -> PathBuf {
    dir.join("spawner.log")
}

/// Listens to the spawner at `link`, and to each that replaces it, until the engine is closed.
pub(super) async fn keep(shared: Arc<Shared>, mut link: Arc<Link>) {
    loop {
        let hearing = async {
            heed(&shared, &link).await;
            link.close();
        };
        tokio::join!(hearing, claim(&shared, &link));
        shared.link.send_replace(None);
        tracing::warn!("the spawner is gone; starting another");
        link = loop {
            match join(&shared).await {
                Ok(link) => break link,
                Err(error) => {
                    tracing::error!(%error, "no spawner");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
        shared.link.send_replace(Some(Arc::clone(&link)));
    }
}

/// Hears what the spawner tells, to its end.
async fn heed(shared: &Arc<Shared>, link: &Link) {
    while let Some(message) = link.listen().await {
        if let Message::Exited { dyno, status } = message {
            exits::note(shared, dyno, status);
        }
    }
}

/// Says of which dynos we read the output: a spawner takes what nobody reads for in the way.
async fn claim(shared: &Shared, link: &Link) {
    let read = shared.dynos().read();
    for dyno in read {
        match link.ask(Order::Output(dyno), &[]).await {
            Ok((Answer::Output { dropped_bytes: lost @ 1.. }, _)) => {
                tracing::warn!(%dyno, lost, "bytes of output were lost before the spawner knew of us");
            }
            Ok(_) => {}
            // It has gone, too.
            Err(_) => return,
        }
    }
}

/// Connects to the spawner, and settles what happened while nobody listened.
pub(super) async fn join(shared: &Arc<Shared>) -> io::Result<Arc<Link>> {
    loop {
        let link = reach(shared).await?;
        let Some(Message::Hello { version, .. }) = link.listen().await else { continue };
        let mut held = BTreeMap::new();
        loop {
            match link.listen().await {
                Some(Message::Held { dyno, status, .. }) => drop(held.insert(dyno, status)),
                Some(Message::Ready) => break,
                Some(_) => {}
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        let settled = tokio::select! {
            settled = sockets::settle(shared, &link, version) => settled,
            () = heed(shared, &link) => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        if let Err(failure) = settled {
            tracing::error!(error = %failure.error(), step = failure.step, "no sockets are kept");
        }
        if version != VERSION {
            // It hands over by dying: the next one adopts what runs.
            let asking = Arc::clone(&link);
            let retire = tokio::spawn(async move { asking.ask(Order::Retire, &[]).await });
            while link.listen().await.is_some() {}
            retire.abort();
            continue;
        }
        settle(shared, &held);
        return Ok(link);
    }
}

/// Compares what the spawner holds with what we know: both have been alone for a while.
fn settle(shared: &Arc<Shared>, held: &BTreeMap<DynoId, Option<u8>>) {
    for dyno in shared.running() {
        match held.get(&dyno) {
            Some(None) => {}
            Some(Some(status)) => exits::note(shared, dyno, *status),
            None => exits::note_lost(shared, dyno),
        }
    }
}

/// A connection to the running spawner, or to a new one.
async fn reach(shared: &Shared) -> io::Result<Arc<Link>> {
    if let Ok(link) = Link::connect(&shared.config.dir) {
        return Ok(link);
    }
    let log = File::create(log(&shared.config.dir))?;
    let mut child = launch(shared, &log)?;
    for attempt in 1..=PATIENCE {
        tokio::time::sleep(PAUSE).await;
        if let Ok(link) = Link::connect(&shared.config.dir) {
            // Somebody has to reap it, however long it lives.
            tokio::spawn(async move { drop(child.wait().await) });
            return Ok(link);
        }
        match child.try_wait()? {
            None => {}
            // Somebody has its lock: another spawner that has not opened its socket yet, or one that
            // has just ended, in a child of its that does not run its own program yet.
            Some(status) if status.success() && attempt % LAUNCH_EVERY == 0 => {
                child = launch(shared, &log)?;
            }
            Some(status) if status.success() => {}
            Some(status) => {
                return Err(io::Error::other(format!("the spawner ended with {status}")));
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn launch(shared: &Shared, log: &File) -> io::Result<Child> {
    Command::new(&shared.config.lathe)
        .arg("spawner")
        .arg("--dir")
        .arg(&shared.config.dir)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.try_clone()?)
        .spawn()
}
