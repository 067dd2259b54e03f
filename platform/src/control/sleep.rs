//! Which apps sleep: those of classes that do, when nobody has asked for them for long. Pure.
//!
//! Heroku Dev Center, "Eco Dyno Hours": after 30 minutes without web traffic all dynos of the app
//! sleep, workers too; an app without web dynos never does.

use super::plan::Facts;
use super::slots::Place;
use super::snapshot::AppState;
use super::wanted;
use lathe_logs::AppId;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sleep {
    Never,
    /// At this time, unless somebody asks before.
    Later(u64),
    Now,
}

pub(super) fn judge(state: &AppState, facts: &Facts<'_>) -> Sleep {
    let after_ms = u64::try_from(facts.patience.sleep_after.as_millis()).unwrap_or(u64::MAX);
    let Some(release) = state.current.as_ref().filter(|_| state.candidate.is_none()) else {
        return Sleep::Never;
    };
    let web: Vec<Place> =
        wanted::places(state, release).into_iter().filter(Place::is_web).collect();
    let class = state.formation.iter().find(|formation| formation.process_type == "web");
    let sleeps = class
        .and_then(|formation| facts.classes.named(&formation.size))
        .is_some_and(|class| class.sleeps());
    if after_ms == 0 || web.is_empty() || !sleeps || state.app.maintenance {
        return Sleep::Never;
    }
    let asked_ms = facts.asked_ms.get(&AppId::new(&state.app.id)).copied().unwrap_or(0);
    let released_ms = u64::try_from(release.updated_at.as_millisecond()).unwrap_or(0);
    // Written down by a clock that may have been set back since.
    let released_ms = released_ms.min(facts.now_ms);
    let due_ms = asked_ms.max(released_ms).max(facts.listening_since_ms).saturating_add(after_ms);
    // A request or a tunnel that lasts is somebody who asks all the time.
    let busy = web.iter().any(|place| {
        let dyno = facts.observed.dynos.get(&place.slot()).and_then(|dyno| dyno.id);
        dyno.is_some_and(|id| facts.busy.contains(&id.to_string()))
    });
    match due_ms <= facts.now_ms {
        true if busy => Sleep::Later(facts.now_ms.saturating_add(after_ms)),
        true => Sleep::Now,
        false => Sleep::Later(due_ms),
    }
}
