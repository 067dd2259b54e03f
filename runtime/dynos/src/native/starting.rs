//! Starting a container: reserve, prepare, ask the spawner; after an error, all of it back.

use super::engine::{Dyno, Shared, State};
use super::exits::now_ms;
use super::networks::Ready;
use super::record::{Files, Membership, Record, Streams};
use super::wire::{Answer, FDS_MAX, Failure, Order};
use super::{image, room};
use crate::containers::{MountSource, Start, StartError, Started, Stdio};
use crate::spec::DynoId;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// The whole start; runs to its end even when the caller has stopped waiting.
pub(super) async fn start(shared: Arc<Shared>, start: Start) -> Result<Started, StartError> {
    check(&start)?;
    let (streams, mut fds) = match start.stdio {
        Stdio::Logged => (Streams::Logged, Vec::new()),
        Stdio::Given { stdin, stdout, stderr } => (Streams::Given, vec![stdin, stdout, stderr]),
        Stdio::Terminal { rows, columns } => (Streams::Terminal { rows, columns }, Vec::new()),
    };
    fds.extend(start.extra_fds);
    let id = start.id;
    let record = Record {
        id,
        spec: start.spec,
        labels: start.labels,
        argv: start.argv,
        mounts: start.mounts,
        streams,
        slug: None,
        address: Ipv4Addr::UNSPECIFIED,
        link: String::new(),
        cgroup: Membership::default(),
        cpus: Vec::new(),
        resolv_conf: shared.resolv_conf.clone(),
        started_ms: now_ms(),
    };
    let (record, network) = shared.reserve(record)?;
    let launched = launch(&shared, record, network, fds).await;
    shared.networks.refill();
    if launched.is_err() {
        // Killing what may run and waiting for it is nothing for an asynchronous task.
        drop(tokio::task::spawn_blocking(move || shared.unprepare(id)).await);
    }
    launched
}

async fn launch(
    shared: &Arc<Shared>,
    record: Record,
    network: Ready,
    stdio: Vec<OwnedFd>,
) -> Result<Started, StartError> {
    let (id, address) = (record.id, record.address);
    let preparing = Arc::clone(shared);
    let network = tokio::task::spawn_blocking(move || preparing.prepare(record, network))
        .await
        .unwrap_or_else(|_| Err(refused("prepare", libc::EIO)))?;
    let link = shared.link().await?;
    let fds: Vec<OwnedFd> = std::iter::once(network).chain(stdio).collect();
    let failed =
        |failure: Failure| StartError::Step { source: failure.error(), step: failure.step };
    let (answer, mut fds) = link.ask(Order::Start(id), &fds).await.map_err(failed)?;
    let pid = match answer {
        Answer::Started { pid } => pid,
        Answer::Failed(failure) => return Err(failed(failure)),
        Answer::Output { .. } | Answer::Kept(_) | Answer::Done | Answer::Unknown => {
            return Err(refused("understand the spawner", libc::EPROTO));
        }
    };
    let terminal = fds.pop();
    let copy = terminal.as_ref().map(OwnedFd::try_clone).transpose();
    let copy = copy.map_err(step("keep the terminal"))?;
    if let Some(dyno) = shared.dynos().get_mut(&id) {
        dyno.pid = pid;
        if dyno.state == State::Starting {
            dyno.state = State::Running;
            dyno.terminal = copy;
        }
    }
    Ok(Started { pid, address, terminal })
}

impl Shared {
    /// Takes a place and a network for a new dyno.
    fn reserve(&self, mut record: Record) -> Result<(Record, Ready), StartError> {
        let mut dynos = self.dynos();
        if dynos.contains_key(&record.id) {
            return Err(StartError::Repeated(record.id));
        }
        record.cpus = room::find(self, &dynos, &record)?;
        let taken = dynos.values().map(|dyno| dyno.record.address).collect();
        let Some(network) = self.networks.take(taken, &self.config) else {
            return Err(refused("take an address", libc::EADDRNOTAVAIL));
        };
        record.address = network.plan.address;
        record.link.clone_from(&network.plan.link);
        let dyno = Dyno { record: record.clone(), pid: 0, state: State::Starting, terminal: None };
        dynos.insert(record.id, dyno);
        Ok((record, network))
    }

    /// Everything that is made outside of the container: on the disk, in the control groups, and
    /// its network.
    fn prepare(&self, mut record: Record, network: Ready) -> Result<OwnedFd, StartError> {
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
        let group = self.cgroups.of(record.id);
        record.cgroup = group.create(&record.spec.class).map_err(step("make control groups"))?;
        let taken = room::taken(&self.dynos());
        let cpuset = self.cpusets.enter(record.id, &record.cpus, &taken);
        record.cgroup.v1.extend(cpuset.map_err(step("set CPUs aside"))?);
        if !record.cpus.is_empty() {
            room::part(self);
        }
        Files::of(&self.config.dir, record.id).create(&record).map_err(step("write record"))?;
        self.replace(&record);
        let failed =
            |failure: Failure| StartError::Step { source: failure.error(), step: failure.step };
        network.make().map_err(failed)
    }

    fn replace(&self, record: &Record) {
        if let Some(dyno) = self.dynos().get_mut(&record.id) {
            dyno.record = record.clone();
        }
    }

    /// Takes back what `reserve` and `prepare` have done, as far as they came.
    fn unprepare(&self, id: DynoId) {
        let removed = self.cgroups.of(id).remove().and_then(|()| self.cpusets.leave(id));
        if let Err(error) = removed.and_then(|()| Files::of(&self.config.dir, id).remove()) {
            tracing::error!(%error, dyno = %id, "a failed start left something behind");
        }
        let record = self.dynos().remove(&id).map(|dyno| dyno.record);
        if record.as_ref().is_some_and(|record| !record.cpus.is_empty()) {
            room::part(self);
        }
        if let Some(record) = record
            && let (Some(slug), Some(_)) = (record.spec.slug, &record.slug)
        {
            self.slugs.release((slug, record.spec.uid));
        }
    }
}

/// What no container may ask for.
fn check(start: &Start) -> Result<(), StartError> {
    if start.spec.uid == 0 {
        return Err(refused("run as root", libc::EPERM));
    }
    // Beside its own ones: the network and the standard ones.
    if start.extra_fds.len() + 4 > FDS_MAX {
        return Err(refused("pass descriptors", libc::E2BIG));
    }
    let absolute = |path: &Path| path.is_absolute();
    if !start.mounts.iter().all(|mount| absolute(&mount.target)) {
        return Err(refused("mount at a relative path", libc::EINVAL));
    }
    Ok(())
}

fn refused(step: &str, errno: i32) -> StartError {
    StartError::Step { step: step.to_owned(), source: io::Error::from_raw_os_error(errno) }
}

fn step(step: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let step = step.into();
    move |source| StartError::Step { step, source }
}
