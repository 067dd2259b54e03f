//! Sockets that outlive the engine: the spawner keeps them, and the next engine takes them over.

use super::engine::{NativeEngine, Shared};
use super::link::Link;
use super::wire::{Answer, Failure, KEEPS_SOCKETS, Order, VERSION};
use std::io;
use std::os::fd::OwnedFd;
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

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Vec<KeptSocket>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the spawner of the engine directory `dir` close what it keeps, if it is there: no engine
/// is to come.
pub async fn let_go(dir: &Path) -> io::Result<()> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let link = match Link::connect(dir) {
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(()),
        link => link?,
    };
    tokio::select! {
        answer = link.ask(Order::Keep(Vec::new(), Duration::ZERO), &[]) => {
            answer.map(drop).map_err(|failure| failure.error())
        }
        // It is gone, and so is what it kept; or it is too old to keep anything.
        () = async { while link.listen().await.is_some() {} } => Ok(()),
    }
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
