//! Sockets that outlive the engine: the spawner keeps them, and the next engine takes them over.

use super::engine::{NativeEngine, Shared};
use super::grants::Grants;
use super::link::Link;
use super::record::Files;
use super::wire::{Answer, Failure, KEEPS_SOCKETS, Message, Order, VERSION};
use crate::containers::Signal;
use crate::spec::DynoId;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::fs;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// A socket, and the name by which the next engine knows it.
#[derive(Debug)]
pub struct KeptSocket {
    pub name: String,
    pub socket: OwnedFd,
}

impl KeptSocket {
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { name: self.name.clone(), socket: self.socket.try_clone()? })
    }
}

impl NativeEngine {
    /// What is kept now: at first, what an earlier engine has left.
    pub fn kept(&self) -> io::Result<Vec<KeptSocket>> {
        self.shared().kept().iter().map(KeptSocket::try_clone).collect()
    }

    /// Keeps these sockets and no others, at most 32: they stay open when this process ends,
    /// however it ends, until the next engine takes them over, [`let_go`] is called, or neither
    /// has happened for [`super::NativeConfig::sockets_patience`]. A spawner that dies is given them again.
    pub async fn keep(&self, sockets: Vec<KeptSocket>) -> io::Result<()> {
        let shared = self.shared();
        *shared.kept() = sockets;
        let link = shared.link().await.map_err(io::Error::other)?;
        give(shared, &link).await.map_err(|failure| failure.error())
    }
}

impl NativeEngine {
    /// A duplicate of a listening socket that a running dyno was given as its descriptor `number`,
    /// from the dyno's own process. With the spawner dead, a system dyno may be the last to have it.
    pub fn listener_of(&self, id: DynoId, number: RawFd) -> io::Result<OwnedFd> {
        let first = self.shared().dynos().get(id).map(|dyno| dyno.pid);
        let first = first.filter(|pid| *pid > 0).ok_or(io::ErrorKind::NotFound)?;
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"))?;
        // The first process has started one; what else it has are orphans, which came later.
        let own = children.split_ascii_whitespace().next().and_then(|pid| pid.parse().ok());
        let own = own.and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let process = pidfd_open(own, PidfdFlags::empty())?;
        let copy = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
        // It may have closed its own and have something else there now.
        if !socket_acceptconn(&copy)? {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(copy)
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Vec<KeptSocket>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often [`let_go`] asks a spawner that somebody else keeps taking away from it.
const LET_GO_TRIES: u32 = 5;

/// Has the spawner of the engine directory `dir` close what it keeps, if it is there, and tells the
/// dynos that work for the platform to end: no engine is to come.
///
/// With an engine at work, which takes the spawner back each time, it may end with `ResourceBusy`.
pub async fn let_go(dir: &Path) -> io::Result<()> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    for _ in 0..LET_GO_TRIES {
        let link = match Link::connect(dir) {
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(()),
            link => link?,
        };
        tokio::select! {
            asked = ask_to_let_go(dir, &link) => match asked {
                Err(failure) if matches!(failure.errno, libc::EPIPE | libc::ECONNRESET) => {}
                asked => return asked.map_err(|failure| failure.error()),
            },
            version = hear_out(&link) => if version.is_some_and(|it| it < KEEPS_SOCKETS) {
                return Ok(());
            },
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

async fn ask_to_let_go(dir: &Path, link: &Link) -> Result<(), Failure> {
    for dyno in servants(dir).map_err(Failure::at("read the records"))? {
        // One that has ended is as good.
        drop(link.ask(Order::Signal(dyno, Signal::SIGTERM as i32), &[]).await);
    }
    link.ask(Order::Keep(Vec::new(), Duration::ZERO), &[]).await.map(drop)
}

/// The spawner's version, once it says no more: it has ended, or another engine has come.
async fn hear_out(link: &Link) -> Option<u32> {
    let mut spoken = None;
    while let Some(message) = link.listen().await {
        if let Message::Hello { version, .. } = message {
            spoken = Some(version);
        }
    }
    spoken
}

/// The dynos that have been granted something.
fn servants(dir: &Path) -> io::Result<Vec<DynoId>> {
    let granted = |id: &DynoId| {
        Files::of(dir, *id).record().is_ok_and(|record| record.grants != Grants::NONE)
    };
    Ok(Files::all(dir)?.into_iter().filter(granted).collect())
}

/// After a spawner of protocol `version` was found: it hands out what it keeps, or is given what
/// another one has kept.
pub(super) async fn settle(shared: &Shared, link: &Link, version: u32) -> Result<(), Failure> {
    if version < KEEPS_SOCKETS {
        return Ok(());
    }
    if !shared.kept().is_empty() {
        return if version == VERSION { give(shared, link).await } else { Ok(()) };
    }
    let (answer, sockets) = link.ask(Order::Kept, &[]).await?;
    if let Answer::Kept(names) = answer {
        let named = names.into_iter().zip(sockets);
        *shared.kept() = named.map(|(name, socket)| KeptSocket { name, socket }).collect();
    }
    Ok(())
}

async fn give(shared: &Shared, link: &Link) -> Result<(), Failure> {
    let copies: io::Result<Vec<_>> = shared.kept().iter().map(KeptSocket::try_clone).collect();
    let copies = copies.map_err(Failure::at("keep sockets"))?;
    let (names, sockets): (Vec<_>, Vec<_>) =
        copies.into_iter().map(|kept| (kept.name, kept.socket)).unzip();
    match link.ask(Order::Keep(names, shared.config.sockets_patience), &sockets).await? {
        (Answer::Failed(failure), _) => Err(failure),
        _ => Ok(()),
    }
}
