//! Hears how one-offs end, and finds those of an earlier life.

use super::{ATTACHED, Inner, LABEL, State};
use crate::clock::Clock;
use crate::containers::{Containers, Ended, Exited, Known};
use crate::spec::DynoId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// How often the engine is asked for everything it has, in case an event was lost.
const RELIST: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);
/// How long the answer to a start may lag behind the end.
const START_MAX: Duration = Duration::from_secs(10);
/// How long a one-off's last lines may take before its end is told without them.
const LAST_LINES: Duration = Duration::from_secs(2);

pub(super) async fn run<C: Containers>(inner: Arc<Inner<C>>) {
    let mut events = inner.engine.events();
    let mut ends = JoinSet::new();
    let mut list_at = Instant::now();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Exited { id, ended }) => {
                    ends.spawn(end(inner.clone(), id, ended));
                }
                Err(RecvError::Lagged(_)) => list_at = Instant::now(),
                Err(RecvError::Closed) => return,
            },
            () = sleep_until(list_at) => {
                let wait = if list(&inner, &mut ends).await { RELIST } else { RETRY };
                list_at = Instant::now() + wait;
            }
            Some(_) = ends.join_next() => {}
        }
    }
}

/// An end is told after the last line of output.
async fn end<C: Containers>(inner: Arc<Inner<C>>, id: DynoId, ended: Ended) {
    let Some(mut state) = inner.watch(id) else { return };
    // It may have ended before the answer to its start has arrived.
    drop(timeout(START_MAX, state.wait_for(|state| *state != State::Starting)).await);
    let output = inner.held().pumps.end(id);
    drop(output.wait(LAST_LINES).await);
    inner.complete(id, ended);
}

/// Compares the engine's list with what is known. False when there is no list to be had.
async fn list<C: Containers>(inner: &Arc<Inner<C>>, ends: &mut JoinSet<()>) -> bool {
    // Only what was known before the list was asked for can be missing from it.
    let before = inner.up_ids();
    let Ok(known) = inner.engine.labelled(LABEL).await else { return false };
    let named: BTreeSet<DynoId> = known.iter().map(|known| known.id).collect();
    // Later lists teach nothing new: what is not known then has just been forgotten.
    let first = !*inner.listed.borrow();
    for known in &known {
        if first {
            inner.clone().adopt(known);
        }
        if let Some(ended) = known.ended {
            ends.spawn(end(inner.clone(), known.id, ended));
        }
    }
    let at_ms = Clock::system().now_ms();
    for id in before.difference(&named) {
        let ended = Ended { status: 137, at_ms, ..Ended::default() };
        tracing::warn!(dyno.id = %id, "a one-off vanished, and nobody knows how it ended");
        ends.spawn(end(inner.clone(), *id, ended));
    }
    inner.listed.send_replace(true);
    true
}

impl<C: Containers> Inner<C> {
    fn up_ids(&self) -> BTreeSet<DynoId> {
        let held = self.held();
        let up = held.entries.iter().filter(|(_, e)| *e.state.borrow() == State::Up);
        up.map(|(id, _)| *id).collect()
    }

    fn adopt(self: Arc<Self>, known: &Known) {
        let attached = known.labels.get(LABEL).is_some_and(|label| label == ATTACHED);
        if !self.enter(known.id, &known.spec, attached) {
            return;
        }
        self.up(known.id, attached, self.voice(&known.spec));
        if attached && known.ended.is_none() {
            self.hang_up(known.id);
        }
    }
}
