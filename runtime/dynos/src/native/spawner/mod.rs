//! The spawner: a small single-threaded process that starts containers, reaps them and holds
//! their output, so that neither costs nor dies with the platform's process.

mod berths;
mod engine;
mod held;
mod kept;
mod safe;
mod start;
mod watches;

use super::berths::BerthId;
use super::title;
use crate::spec::DynoId;
use berths::Manned;
use held::Held;
use kept::Kept;
use nix::sys::epoll::EpollTimeout;
use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use safe::Alone;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use watches::Watches;

/// The spawner's lock, held while it lives, in the engine's directory.
const LOCK: &str = "spawner.lock";

/// How often output that nobody reads is looked after.
const UNREAD_PAUSE: Duration = Duration::from_millis(50);

/// What a ready descriptor belongs to.
#[derive(Clone, Copy, Debug)]
enum Source {
    Listener,
    Engine,
    Report(DynoId),
    Process(DynoId),
    Berth(BerthId),
}

#[derive(Debug)]
struct Spawner {
    dir: PathBuf,
    watches: Watches<Source>,
    listener: OwnedFd,
    engine: Option<OwnedFd>,
    berths: BTreeMap<BerthId, Manned>,
    held: BTreeMap<DynoId, Held>,
    /// Those of them that run and whose output nobody reads.
    unread: BTreeSet<DynoId>,
    kept: Kept,
    alone: Alone,
    retired: bool,
}

/// Why a spawner could not begin.
#[derive(Debug, thiserror::Error)]
#[error("spawner could not {step}")]
pub struct SpawnerError {
    step: &'static str,
    #[source]
    source: io::Error,
}

impl SpawnerError {
    fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self { step, source: error.into() }
    }
}

/// The address at which an engine finds the spawner of `dir`.
pub(super) fn socket(dir: &Path) -> PathBuf {
    dir.join("spawner.sock")
}

/// Runs the spawner of the engine directory `dir` until it is told to retire. Call it before the
/// process has started any thread: it forks, and its children run ordinary code.
///
/// Returns at once when another spawner serves the directory.
pub fn run(dir: &Path) -> Result<(), SpawnerError> {
    // Without a session of its own it would end with the terminal of whoever started it. It
    // already leads one when it was started so.
    let _leader = rustix::process::setsid();
    let lock = File::create(dir.join(LOCK)).map_err(SpawnerError::at("open its lock"))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
        other => other.map_err(SpawnerError::at("take its lock"))?,
    }
    raise_open_files();
    title::find();
    let mut spawner = Spawner::open(dir)?;
    spawner.adopt().map_err(SpawnerError::at("adopt containers"))?;
    while !spawner.retired {
        spawner.turn().map_err(SpawnerError::at("wait for events"))?;
    }
    Ok(())
}

/// Each container takes three descriptors.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    for wanted in [Some(1 << 20), limit.maximum] {
        let raised = rustix::process::Rlimit { current: wanted, maximum: wanted };
        if rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).is_ok() {
            return;
        }
    }
}

impl Spawner {
    fn open(dir: &Path) -> Result<Self, SpawnerError> {
        let path = socket(dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(SpawnerError::at("remove the old socket"))?,
        }
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(SpawnerError::at("make a socket"))?;
        rustix::net::bind(&listener, &address(&path).map_err(SpawnerError::at("name its socket"))?)
            .and_then(|()| rustix::net::listen(&listener, 8))
            .map_err(SpawnerError::at("listen"))?;
        let mut watches = Watches::new().map_err(SpawnerError::at("make an event queue"))?;
        watches.begin(&listener, Source::Listener).map_err(SpawnerError::at("watch its socket"))?;
        Ok(Self {
            dir: dir.to_owned(),
            watches,
            listener,
            engine: None,
            berths: BTreeMap::new(),
            held: BTreeMap::new(),
            unread: BTreeSet::new(),
            kept: Kept::default(),
            alone: Alone::since(Instant::now()),
            retired: false,
        })
    }

    /// Waits for something to happen and deals with it.
    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        for key in self.watches.wait(timeout)? {
            let Some(source) = self.watches.source(key) else { continue };
            match source {
                Source::Listener => self.accept()?,
                Source::Engine => self.serve(),
                Source::Report(dyno) => {
                    self.hear(dyno);
                }
                Source::Process(dyno) => self.reap(dyno),
                Source::Berth(berth) => self.vacate(berth),
            }
        }
        let now = Instant::now();
        for dyno in &self.unread {
            let output = self.held.get_mut(dyno).and_then(|held| held.output.as_mut());
            output.into_iter().flatten().for_each(|stream| stream.make_room(now));
        }
        Ok(())
    }

    /// How long there may be nothing to do but what others cause.
    fn timeout(&mut self) -> EpollTimeout {
        let now = Instant::now();
        let kept = self.kept.expire(now);
        let alone = match self.alone.expire(now) {
            Some(Duration::ZERO) => {
                self.make_safe();
                None
            }
            left => left,
        };
        let unread = (!self.unread.is_empty()).then_some(UNREAD_PAUSE);
        // Rounded up: a wait that ends too early would be one for nothing.
        let wait =
            unread.into_iter().chain(kept).chain(alone).min().map(|wait| wait.as_millis() + 1);
        wait.map_or(EpollTimeout::NONE, |ms| ms.try_into().unwrap_or(EpollTimeout::MAX))
    }
}

/// A socket's name has 108 bytes at most: a longer path is named by its directory's descriptor.
pub(super) fn address(path: &Path) -> io::Result<rustix::net::SocketAddrUnix> {
    Ok(rustix::net::SocketAddrUnix::new(path)?)
}
