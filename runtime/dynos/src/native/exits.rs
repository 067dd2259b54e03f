//! From a first process's end to a container that is known to have ended, and nothing left of it.

use super::dynos::{Dyno, State};
use super::engine::Shared;
use super::record::Files;
use super::room;
use crate::clock::millis;
use crate::containers::{Ended, Exited};
use crate::spec::DynoId;
use lathe_logs::clock::steady_ms;
use nix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::Duration;

/// Status of a container of which nobody knows how it ended.
const UNKNOWN: u8 = 128 + 9;

/// Records the end of a container, tells it, and cleans up behind it.
pub(super) fn note(shared: &Arc<Shared>, dyno: DynoId, status: u8) {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || settle(&shared, dyno, status));
}

/// As `note`, for a container that the spawner has never held.
pub(super) fn note_lost(shared: &Arc<Shared>, dyno: DynoId) {
    let status = Files::of(&shared.config.dir, dyno).exit().unwrap_or(UNKNOWN);
    note(shared, dyno, status);
}

fn settle(shared: &Shared, dyno: DynoId, status: u8) {
    let Some(berth) = shared.dynos().get(dyno).map(|dyno| dyno.record.group()) else { return };
    let group = shared.cgroups.of(berth);
    let met = group.met();
    let ended = Ended {
        status,
        oom_killed: met.oom_kills > 0,
        pids_denied: met.pids_denied > 0,
        memory_peak_bytes: met.memory_peak_bytes,
        at_ms: now_ms(),
    };
    let (slug, had_cpus) = {
        let mut dynos = shared.dynos();
        let Some(Dyno { state, record, .. }) = dynos.get(dyno) else { return };
        if matches!(state, State::Ending | State::Ended(_)) {
            return;
        }
        let slug = record.spec.slug.map(|slug| (slug, record.spec.uid));
        let had_cpus = !record.cpus.is_empty();
        // Whoever sees it ended may forget it at once, with all its files.
        dynos.change(dyno, |dyno| {
            dyno.state = State::Ending;
            dyno.terminal = None;
        });
        (slug, had_cpus)
    };
    if let Err(error) = Files::of(&shared.config.dir, dyno).write_end(&ended) {
        tracing::error!(%error, %dyno, "the end of a dyno cannot be recorded");
    }
    shared.dynos().end(dyno, ended);
    // Without a receiver nobody wants to know now; `list` knows later.
    drop(shared.exits.send(Exited { id: dyno, ended }));
    if let Err(error) = group.remove().and_then(|()| shared.cpusets.leave(berth)) {
        tracing::error!(%error, %dyno, "control groups of an ended dyno cannot be removed");
    }
    if had_cpus {
        room::part(shared);
    }
    if let Some(slug) = slug {
        shared.slugs.release(slug);
    }
}

/// Unix time, by the count of this process.
pub(super) fn now_ms() -> u64 {
    steady_ms()
}

/// Of the machine, however often it has slept since.
pub(super) fn since_boot_ms() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| millis(Duration::from(time)))
}
