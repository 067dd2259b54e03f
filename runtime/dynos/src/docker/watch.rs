//! What the daemon says by itself and when asked: who has come, who has ended, who is gone.

use super::body::{self, DYNO};
use super::daemon::Trouble;
use super::engine::{Dyno, Shared, is_first};
use super::layer;
use super::open::remove_parents;
use super::output;
use crate::containers::{Ended, Exited, Known};
use crate::native::cgroup::Group;
use crate::spec::DynoId;
use bollard::models::{ContainerInspectResponse, ContainerState, EventMessage};
use futures_util::StreamExt;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// While the daemon does not answer.
const RETRY: Duration = Duration::from_millis(250);
/// From the moment events are asked for to a look at what was before, and between two looks.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(10);

/// How long the daemon may still learn why a dyno has ended.
const REASON: Duration = Duration::from_secs(1);
/// Between two questions after it.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// A limit counts as reached from here on: memory is charged in pages, and some at a time.
const MARGIN_BYTES: u64 = 1 << 20;

/// Status of a container of which nobody knows how it ended.
const UNKNOWN: u8 = 128 + 9;

/// Listens for ends for as long as the engine is there.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        listen(&shared).await;
        sleep(RETRY).await;
    }
}

/// Until the daemon says no more.
async fn listen(shared: &Arc<Shared>) {
    let mut events = Box::pin(shared.daemon.ends());
    let mut look_after = FIRST_LOOK;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => heard(shared, event).await,
                Some(Err(_)) | None => return,
            },
            () = sleep(look_after) => {
                look_after = LOOK;
                if look(shared).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn heard(shared: &Arc<Shared>, event: EventMessage) {
    let attributes = event.actor.and_then(|actor| actor.attributes).unwrap_or_default();
    let id = attributes.get(DYNO).and_then(|id| id.parse().ok()).map(DynoId);
    let Some(id) = id else { return };
    let container = shared.dynos().get(&id).map(|dyno| dyno.container.clone());
    let Some(container) = container else { return };
    let state = shared.daemon.inspect(&container).await.ok().and_then(|seen| seen.state);
    // It may have been removed in the same moment: the event knows its status, too.
    let status = attributes.get("exitCode").and_then(|code| code.parse().ok());
    let state = state.unwrap_or(ContainerState { exit_code: status, ..ContainerState::default() });
    ended(shared, id, container, state);
}

/// Tells of an end. The daemon hears of it and of memory that has run out by two messages, and they come
/// in either order: what lacks a reason waits a moment for one, apart from all others.
fn ended(shared: &Arc<Shared>, id: DynoId, container: String, mut state: ContainerState) {
    if !lacks_reason(shared, id, &state) {
        return settle(shared, id, &state);
    }
    let waiting = Arc::clone(shared);
    shared.spawn(async move {
        let since = Instant::now();
        while lacks_reason(&waiting, id, &state) && since.elapsed() < REASON {
            sleep(ASK_AGAIN).await;
            let seen = waiting.daemon.inspect(&container).await.ok();
            state = seen.and_then(|seen| seen.state).unwrap_or(state);
        }
        settle(&waiting, id, &state);
    });
}

/// Killed at its limit, and nobody says by whom.
fn lacks_reason(shared: &Shared, id: DynoId, state: &ContainerState) -> bool {
    let limit = shared.dynos().get(&id).map_or(0, |dyno| dyno.known.spec.class.memory_bytes);
    let met = shared.limits(id).met();
    state.exit_code == Some(i64::from(UNKNOWN))
        && state.oom_killed != Some(true)
        && met.oom_kills == 0
        && met.memory_peak_bytes.saturating_add(MARGIN_BYTES) >= limit
}

/// Compares what the daemon has with what is known, and puts that right.
pub(super) async fn look(shared: &Arc<Shared>) -> Result<(), Trouble> {
    let before: BTreeSet<DynoId> =
        shared.dynos().values().filter(|dyno| !dyno.starting).map(|dyno| dyno.known.id).collect();
    let listed = shared.daemon.list().await?;
    let mut there = BTreeSet::new();
    for container in listed {
        let labels = container.labels.unwrap_or_default();
        let (Some((id, ..)), Some(name)) = (body::read(&labels), container.id) else { continue };
        there.insert(id);
        let dyno = shared.dynos().get(&id).cloned();
        match dyno {
            Some(dyno) if dyno.starting || dyno.known.ended.is_some() => {}
            Some(_) => {
                let running = container.state.is_some_and(|state| state.to_string() == "running");
                if !running {
                    match shared.daemon.inspect(&name).await {
                        Ok(seen) => ended(shared, id, name, seen.state.unwrap_or_default()),
                        // Removed since it was listed.
                        Err(Trouble::Missing) => missed(shared, id),
                        Err(trouble) => return Err(trouble),
                    }
                }
            }
            None => adopt(shared, &name).await?,
        }
    }
    for id in before.difference(&there) {
        missed(shared, *id);
    }
    Ok(())
}

/// A container of ours that nobody here knows of.
async fn adopt(shared: &Shared, name: &str) -> Result<(), Trouble> {
    let _alone = shared.adopting.lock().await;
    let seen = match shared.daemon.inspect(name).await {
        Err(Trouble::Missing) => return Ok(()),
        other => other?,
    };
    let labels = seen.config.as_ref().and_then(|config| config.labels.as_ref());
    let Some((id, spec, labels)) = labels.and_then(body::read) else { return Ok(()) };
    if shared.knows(id) {
        return Ok(());
    }
    let Some(started_ms) = started_ms(&seen) else {
        // Made and never started: whoever wanted that was told that it failed.
        return shared.daemon.remove(name, true).await;
    };
    let known = Known {
        id,
        pid: 0,
        address: address(&seen).unwrap_or(Ipv4Addr::UNSPECIFIED),
        labels,
        spec,
        started_ms,
        ended: None,
    };
    let mut dyno = Dyno { known, container: name.to_owned(), starting: false, pids_denied: 0 };
    dyno.known.pid = first_process(&shared.group(&dyno));
    if runs(&seen) {
        finish(shared, &dyno, &seen).await?;
    }
    shared.dynos().insert(id, dyno);
    if !runs(&seen) {
        settle(shared, id, &seen.state.unwrap_or_default());
    }
    Ok(())
}

/// What an earlier life of ours has begun may still wait for its writable layer. One that cannot be
/// given it has never begun.
async fn finish(
    shared: &Shared,
    dyno: &Dyno,
    seen: &ContainerInspectResponse,
) -> Result<(), Trouble> {
    let host = seen.host_config.as_ref();
    if host.and_then(|host| host.readonly_rootfs) != Some(true) {
        // Of a version whose containers wrote to the daemon's layer.
        return Ok(());
    }
    let Err(error) = layer::make(&shared.group(dyno), &dyno.known.spec.class).await else {
        return Ok(());
    };
    if !runs(&shared.daemon.inspect(&dyno.container).await?) {
        return Ok(());
    }
    tracing::error!(
        error = &error as &dyn std::error::Error,
        dyno = %dyno.known.id,
        "a container cannot be made ready and is removed"
    );
    shared.daemon.remove(&dyno.container, true).await
}

/// The end of a dyno, told once.
fn settle(shared: &Shared, id: DynoId, state: &ContainerState) {
    let met = shared.limits(id).met();
    let ended = {
        let mut dynos = shared.dynos();
        let Some(dyno) = dynos.get_mut(&id).filter(|dyno| dyno.known.ended.is_none()) else {
            return;
        };
        let status = state.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or(UNKNOWN);
        let finished = state.finished_at.as_deref().and_then(time_ms);
        let ended = Ended {
            status,
            oom_killed: met.oom_kills > 0 || state.oom_killed == Some(true),
            pids_denied: dyno.pids_denied > 0,
            memory_peak_bytes: met.memory_peak_bytes,
            at_ms: finished.unwrap_or(dyno.known.started_ms).max(dyno.known.started_ms),
        };
        dyno.known.ended = Some(ended);
        ended
    };
    // Without a receiver nobody wants to know now; `list` knows later.
    drop(shared.config.exits.send(Exited { id, ended }));
}

/// The daemon does not have it any more.
fn missed(shared: &Shared, id: DynoId) {
    settle(shared, id, &ContainerState::default());
    drop_dyno(shared, id);
}

/// Nothing is left of it.
pub(super) fn drop_dyno(shared: &Shared, id: DynoId) {
    shared.dynos().remove(&id);
    if let Err(error) = shared.limits(id).remove() {
        tracing::error!(%error, dyno = %id, "control groups of a dyno cannot be removed");
    }
    remove_parents(&format!("{}/{id}", shared.config.group()));
    let file = output::position_file(&shared.config.dir, id);
    if let Err(error) = std::fs::remove_file(&file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::error!(%error, file = %file.display(), "a file of a dyno cannot be removed");
    }
}

/// Removes the groups of dynos that are no more.
pub(super) fn sweep(shared: &Shared) {
    for id in shared.cgroups.all().unwrap_or_default() {
        let id = DynoId(id.0);
        if !shared.knows(id) {
            drop_dyno(shared, id);
        }
    }
}

pub(super) fn address(seen: &ContainerInspectResponse) -> Option<Ipv4Addr> {
    let networks = seen.network_settings.as_ref()?.networks.as_ref()?;
    networks.values().find_map(|network| network.ip_address.as_deref()?.parse().ok())
}

/// The container's first process, as this machine counts them; the daemon may count its own.
pub(super) fn first_process(group: &Group) -> u32 {
    let first = group.processes().into_iter().find(|pid| is_first(*pid));
    first.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0)
}

pub(super) fn runs(seen: &ContainerInspectResponse) -> bool {
    seen.state.as_ref().and_then(|state| state.running) == Some(true)
}

/// None when it was never started.
pub(super) fn started_ms(seen: &ContainerInspectResponse) -> Option<u64> {
    time_ms(seen.state.as_ref()?.started_at.as_deref()?)
}

/// The daemon's "never" is the year 1.
fn time_ms(text: &str) -> Option<u64> {
    let ms = text.parse::<Timestamp>().ok()?.as_millisecond();
    u64::try_from(ms).ok().filter(|ms| *ms > 0)
}
