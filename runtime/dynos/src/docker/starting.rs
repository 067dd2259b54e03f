//! Starting a container: reserve, have the image, make, attach, start; after an error, all of it
//! back.

use super::body::{self, Place, Unsupported};
use super::daemon::Trouble;
use super::engine::{Dyno, Shared};
use super::{carry, image, layer, watch};
use crate::class::{Capacity, promised_beside};
use crate::clock::millis;
use crate::containers::{Known, Start, StartError, Started, Stdio};
use crate::spec::DynoId;
use std::io;
use std::mem;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

/// The whole start; runs to its end even when the caller has stopped waiting.
pub(super) async fn start(shared: Arc<Shared>, start: Start) -> Result<Started, StartError> {
    let id = start.id;
    reserve(&shared, &start)?;
    let started = make(&shared, start).await;
    if let Err(error) = &started {
        undo(&shared, id, error).await;
    }
    started
}

/// Takes the place of a new dyno.
fn reserve(shared: &Shared, start: &Start) -> Result<(), StartError> {
    let mut dynos = shared.dynos();
    if dynos.contains_key(&start.id) {
        return Err(StartError::Repeated(start.id));
    }
    let living = dynos.values().filter(|dyno| dyno.known.ended.is_none());
    let promised = promised_beside(start.spec.tenant(), living.map(|d| d.known.spec.tenant()));
    // CPUs of its own are set aside by the native engine only.
    let capacity = Capacity { own_cpus: 0, ..shared.config.capacity };
    capacity.admit(&promised, &start.spec.class)?;
    let known = Known {
        id: start.id,
        pid: 0,
        address: Ipv4Addr::UNSPECIFIED,
        labels: start.labels.clone(),
        spec: start.spec.clone(),
        started_ms: now_ms(),
        ended: None,
    };
    let dyno = Dyno { known, container: String::new(), starting: true, pids_denied: 0 };
    dynos.insert(start.id, dyno);
    Ok(())
}

async fn make(shared: &Arc<Shared>, mut start: Start) -> Result<Started, StartError> {
    let (id, class) = (start.id, start.spec.class.clone());
    let image = shared.config.images.image(&start.spec).ok_or_else(|| StartError::Step {
        step: "find its image".to_owned(),
        source: io::ErrorKind::NotFound.into(),
    })?;
    image::ensure(shared, &image).await.map_err(at("pull the image"))?;
    let limits = shared.limits(id);
    let made = limits.create().and_then(|_| limits.limit(&class));
    made.map_err(step("make control groups"))?;
    let resolvers: Vec<String> = shared.config.resolvers.iter().map(ToString::to_string).collect();
    let place = Place {
        instance: &shared.config.instance,
        image: &image.reference,
        network: &shared.config.network_name(),
        cgroup: &format!("/{}/{id}", shared.config.group()),
        resolvers: &resolvers,
    };
    let body = body::body(&start, place).map_err(|Unsupported(step)| StartError::Step {
        step: step.to_owned(),
        source: io::ErrorKind::Unsupported.into(),
    })?;
    let name = body::container_name(&shared.config.instance, id);
    let container = match shared.daemon.create(&name, body).await {
        Err(Trouble::Conflict) => return Err(StartError::Repeated(id)),
        other => other.map_err(at("make the container"))?,
    };
    if let Some(dyno) = shared.dynos().get_mut(&id) {
        dyno.container.clone_from(&container);
    }
    let stdio = mem::replace(&mut start.stdio, Stdio::Logged);
    let terminal = launch(shared, &container, stdio).await?;
    let layered = layer::make(&limits.child(&container), &class).await;
    let started = shared.daemon.inspect(&container).await.map_err(at("look at the container"))?;
    // One that has ended by then needs none.
    if watch::runs(&started) {
        layered?;
    }
    let address = watch::address(&started).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let mut dynos = shared.dynos();
    let Some(dyno) = dynos.get_mut(&id) else { return Err(at("keep it")(Trouble::Missing)) };
    let pid = watch::first_process(&shared.group(dyno));
    dyno.starting = false;
    (dyno.known.pid, dyno.known.address) = (pid, address);
    dyno.known.started_ms = watch::started_ms(&started).unwrap_or(dyno.known.started_ms);
    Ok(Started { pid, address, terminal })
}

/// Attached before it starts, so that nothing it says is missed.
async fn launch(
    shared: &Arc<Shared>,
    container: &str,
    stdio: Stdio,
) -> Result<Option<std::os::fd::OwnedFd>, StartError> {
    let size = match stdio {
        Stdio::Terminal { rows, columns } => Some((rows, columns)),
        Stdio::Logged | Stdio::Given { .. } => None,
    };
    let mut master = None;
    if let Some((ends, terminal)) = carry::ends(stdio).map_err(step("use descriptors"))? {
        let attached = shared.daemon.attach(container).await.map_err(at("attach"))?;
        shared.spawn(carry::carry(ends, attached));
        master = terminal;
    }
    shared.daemon.start(container).await.map_err(at("start the container"))?;
    if let Some((rows, columns)) = size {
        let resized = shared.daemon.resize(container, rows, columns).await;
        resized.map_err(at("set window size"))?;
    }
    Ok(master)
}

/// Takes back what was made, as far as it came. A daemon that is gone is told when it is back: what
/// nobody knows of is removed then.
async fn undo(shared: &Shared, id: DynoId, error: &StartError) {
    if matches!(error, StartError::Repeated(_)) {
        // The container of that name is another's.
        shared.dynos().remove(&id);
        return;
    }
    let name = body::container_name(&shared.config.instance, id);
    drop(shared.daemon.remove(&name, true).await);
    watch::drop_dyno(shared, id);
}

fn at(step: &'static str) -> impl FnOnce(Trouble) -> StartError {
    move |trouble| match trouble {
        Trouble::Gone => StartError::Engine(crate::containers::EngineError::Gone),
        other => StartError::Step { step: step.to_owned(), source: io::Error::other(other) },
    }
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Step { step: step.to_owned(), source }
}

fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
