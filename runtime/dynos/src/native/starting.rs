//! Starting a container: reserve, prepare, ask the spawner; after an error, all of it back.

use super::berths::Berth;
use super::dynos::{Dyno, State};
use super::engine::Shared;
use super::exits::{now_ms, since_boot_ms};
use super::grants::Grants;
use super::record::{Files, Record, Streams};
use super::wire::{Answer, Boarding, FDS_MAX, Failure, Order};
use super::{container, image, room};
use crate::containers::{MountSource, Start, StartError, Started, Stdio};
use crate::spec::{DynoId, SYSTEM_APP};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Addresses that others may take before us in one start.
const ADDRESSES_TRIED: usize = 8;

/// The whole start; runs to its end even when the caller has stopped waiting.
pub(super) async fn start(
    shared: Arc<Shared>,
    start: Start,
    grants: Grants,
) -> Result<Started, StartError> {
    check(&start, grants)?;
    let (streams, mut fds) = match start.stdio {
        Stdio::Logged => (Streams::Logged, Vec::new()),
        Stdio::Given { stdin, stdout, stderr } => (Streams::Given, vec![stdin, stdout, stderr]),
        Stdio::Terminal { rows, columns } => (Streams::Terminal { rows, columns }, Vec::new()),
    };
    fds.extend(start.extra_fds);
    fds.extend(grants.network().map_err(step("open the host's network"))?);
    let id = start.id;
    let record = Record {
        id,
        spec: start.spec,
        labels: start.labels,
        argv: start.argv,
        mounts: start.mounts,
        grants,
        streams,
        slug: None,
        address: Ipv4Addr::UNSPECIFIED,
        link: String::new(),
        berth: None,
        cpus: Vec::new(),
        own_cpuset: None,
        resolv_conf: shared.resolv_conf.clone(),
        started_ms: now_ms(),
        started_boot_ms: Some(since_boot_ms()),
    };
    let (record, berth) = shared.reserve(record)?;
    let launched = launch(&shared, record, berth, fds).await;
    shared.berths.refill();
    if launched.is_err() {
        // Killing what may run and waiting for it is nothing for an asynchronous task.
        drop(tokio::task::spawn_blocking(move || shared.unprepare(id)).await);
    }
    launched
}

async fn launch(
    shared: &Arc<Shared>,
    record: Record,
    berth: Berth,
    stdio: Vec<OwnedFd>,
) -> Result<Started, StartError> {
    let (id, streams, uid) = (record.id, record.streams, record.spec.uid);
    let logged = streams == Streams::Logged;
    let preparing = Arc::clone(shared);
    let mut berth = tokio::task::spawn_blocking(move || preparing.prepare(record, berth))
        .await
        .unwrap_or_else(|_| Err(refused("prepare", libc::EIO)))?;
    let boarding = Boarding { dyno: id, berth: berth.id, streams, uid };
    let address = berth.plan.address;
    let (pid, mut fds) = board(shared, boarding, &mut berth, &stdio).await?;
    let terminal = fds.pop();
    let copy = terminal.as_ref().map(OwnedFd::try_clone).transpose();
    let copy = copy.map_err(step("keep the terminal"))?;
    // One that has ended by now has left its output with the spawner.
    let output = logged.then(|| container::kept_output(pid).ok()).flatten();
    shared.dynos().change(id, |dyno| {
        (dyno.pid, dyno.output) = (pid, output);
        if dyno.state == State::Starting {
            dyno.state = State::Running;
            dyno.terminal = copy;
        }
    });
    Ok(Started { pid, address, terminal })
}

/// Has the dyno started in its berth, which gets a first process if it has none, or none any more:
/// with the spawner all those end that wait.
async fn board(
    shared: &Arc<Shared>,
    boarding: Boarding,
    berth: &mut Berth,
    stdio: &[OwnedFd],
) -> Result<(u32, Vec<OwnedFd>), StartError> {
    let link = shared.link().await?;
    for _ in 0..2 {
        if let Some(made) = berth.made.as_mut().filter(|made| !made.manned) {
            made.man(shared, berth.id).await.map_err(failed)?;
        }
        match link.ask(Order::Start(boarding), stdio).await.map_err(failed)? {
            (Answer::Started { pid }, fds) => return Ok((pid, fds)),
            (Answer::Failed(failure), _) => return Err(failed(failure)),
            (Answer::Unknown, _) => berth.made.iter_mut().for_each(|made| made.manned = false),
            (Answer::Output { .. } | Answer::Kept(_) | Answer::Done, _) => {
                return Err(refused("understand the spawner", libc::EPROTO));
            }
        }
    }
    Err(refused("keep a first process", libc::ESRCH))
}

impl Shared {
    /// Takes a place and a berth for a new dyno.
    fn reserve(&self, mut record: Record) -> Result<(Record, Berth), StartError> {
        let mut dynos = self.dynos();
        if dynos.contains(record.id) {
            return Err(StartError::Repeated(record.id));
        }
        record.cpus = room::find(self, &dynos, &record)?;
        let Some(berth) = self.berths.take(dynos.addresses(), &self.config) else {
            return Err(refused("take an address", libc::EADDRNOTAVAIL));
        };
        berth.house(&mut record);
        let dyno = Dyno {
            record: record.clone(),
            pid: 0,
            state: State::Starting,
            terminal: None,
            output: None,
            is_read: false,
        };
        dynos.insert(dyno);
        Ok((record, berth))
    }

    /// Everything that is made outside of the container: on the disk, in the control groups, and
    /// what the berth is still without.
    fn prepare(&self, mut record: Record, berth: Berth) -> Result<Berth, StartError> {
        if let Some(slug) = record.spec.slug {
            record.slug = Some(self.slugs.take((slug, record.spec.uid))?);
            // At once, so that it is given back whatever happens next.
            self.replace(&record);
        }
        for mount in &record.mounts {
            if let MountSource::Image { path, bytes } = &mount.source {
                image::ensure(path, *bytes, record.spec.uid)
                    .map_err(step(format!("make image {}", path.display())))?;
            }
        }
        let berth = self.make(&mut record, berth)?;
        let group = self.cgroups.of(berth.id);
        group.limit(&record.spec.class).map_err(step("limit control groups"))?;
        let taken = self.dynos().cpus_taken();
        let cpuset = self.cpusets.enter(berth.id, &record.cpus, &taken);
        record.own_cpuset = cpuset.map_err(step("set CPUs aside"))?;
        if !record.cpus.is_empty() {
            room::part(self);
        }
        Files::of(&self.config.dir, record.id).create(&record).map_err(step("write record"))?;
        self.replace(&record);
        Ok(berth)
    }

    /// Makes what the berth is still without. Where another platform of this machine has taken its
    /// address since it was chosen, it is another berth.
    fn make(&self, record: &mut Record, mut berth: Berth) -> Result<Berth, StartError> {
        for _ in 0..ADDRESSES_TRIED {
            match berth.make(self) {
                Ok(()) => return Ok(berth),
                Err(failure) if failure.errno == libc::EEXIST => {}
                Err(failure) => return Err(failed(failure)),
            }
            let mut dynos = self.dynos();
            let another = self.berths.take(dynos.addresses(), &self.config);
            berth = another.ok_or_else(|| refused("take an address", libc::EADDRNOTAVAIL))?;
            berth.house(record);
            dynos.relocate(record);
        }
        Err(refused("take an address", libc::EADDRINUSE))
    }

    fn replace(&self, record: &Record) {
        self.dynos().change(record.id, |dyno| dyno.record = record.clone());
    }

    /// Takes back what `reserve` and `prepare` have done, as far as they came.
    fn unprepare(&self, id: DynoId) {
        let Some(record) = self.dynos().get(id).map(|dyno| dyno.record.clone()) else { return };
        let berth = record.group();
        let removed = self.cgroups.of(berth).remove().and_then(|()| self.cpusets.leave(berth));
        if let Err(error) = removed.and_then(|()| Files::of(&self.config.dir, id).remove()) {
            tracing::error!(%error, dyno = %id, "a failed start left something behind");
        }
        self.dynos().remove(id);
        if !record.cpus.is_empty() {
            room::part(self);
        }
        if let (Some(slug), Some(_)) = (record.spec.slug, &record.slug) {
            self.slugs.release((slug, record.spec.uid));
        }
    }
}

/// What no container may ask for.
fn check(start: &Start, grants: Grants) -> Result<(), StartError> {
    if start.spec.uid == 0 {
        return Err(refused("run as root", libc::EPERM));
    }
    if grants != Grants::NONE && start.spec.app.as_str() != SYSTEM_APP {
        return Err(refused("grant an app what only the platform has", libc::EPERM));
    }
    // Beside its own ones: the standard ones, the ends of two of them that are kept, a network.
    if start.extra_fds.len() + 6 > FDS_MAX {
        return Err(refused("pass descriptors", libc::E2BIG));
    }
    let absolute = |path: &Path| path.is_absolute();
    if !start.mounts.iter().all(|mount| absolute(&mount.target)) {
        return Err(refused("mount at a relative path", libc::EINVAL));
    }
    Ok(())
}

fn failed(failure: Failure) -> StartError {
    StartError::Step { source: failure.error(), step: failure.step }
}

fn refused(step: &str, errno: i32) -> StartError {
    StartError::Step { step: step.to_owned(), source: io::Error::from_raw_os_error(errno) }
}

fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let step = step.into();
    move |source| StartError::Step { step, source }
}
