//! How one-offs are ended: stopped, hung up, or removed at once.

use super::{ENGINE_RETRY, Inner, State};
use crate::containers::{Containers, EngineError, Signal};
use crate::output::state_line as line;
use crate::output::voice::Voice;
use crate::spec::DynoId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const HANGUPS: u32 = 3;
/// Between two SIGHUPs, and between the last and SIGKILL. Heroku Dev Center, R16.
const HANGUP_EVERY: Duration = Duration::from_secs(5);
const KILL_AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn stop<C: Containers>(
    inner: Arc<Inner<C>>,
    id: DynoId,
    voice: Voice,
    grace: Duration,
) {
    voice.heroku(line::SIGTERM);
    if send_and_wait(&inner, id, Signal::SIGTERM, grace).await {
        return;
    }
    voice.heroku(&line::r12(grace));
    voice.heroku(line::SIGKILL);
    kill(&inner, id).await;
}

pub(super) async fn hang_up<C: Containers>(inner: Arc<Inner<C>>, id: DynoId, voice: Voice) {
    for _ in 0..HANGUPS {
        if ended_within(&inner, id, Duration::ZERO).await {
            return;
        }
        voice.heroku(line::SIGHUP);
        if send_and_wait(&inner, id, Signal::SIGHUP, HANGUP_EVERY).await {
            return;
        }
    }
    voice.heroku(line::R16);
    voice.heroku(line::SIGKILL);
    kill(&inner, id).await;
}

/// Ends and forgets a dyno that nobody was told of.
pub(super) async fn remove<C: Containers>(inner: &Inner<C>, id: DynoId) {
    while let Err(error) = inner.engine.kill(id).await {
        if matches!(error, EngineError::Unknown(_)) {
            return;
        }
        sleep(ENGINE_RETRY).await;
    }
    // It ends in milliseconds; until then the engine refuses.
    while !matches!(inner.engine.forget(id).await, Ok(()) | Err(EngineError::Unknown(_))) {
        sleep(ENGINE_RETRY).await;
    }
}

/// Until its end is known, whatever the engine says.
async fn kill<C: Containers>(inner: &Inner<C>, id: DynoId) {
    loop {
        if let Err(error) = inner.engine.kill(id).await {
            tracing::warn!(dyno.id = %id, error = crate::cell::perform::chain(&error), "SIGKILL was not delivered");
        }
        if ended_within(inner, id, KILL_AGAIN).await {
            return;
        }
    }
}

/// Whether it ended in time. A signal that the engine did not take is sent again.
async fn send_and_wait<C: Containers>(
    inner: &Inner<C>,
    id: DynoId,
    signal: Signal,
    at_most: Duration,
) -> bool {
    let send = async {
        while let Err(error) = inner.engine.signal(id, signal).await {
            if matches!(error, EngineError::Unknown(_)) {
                break;
            }
            sleep(ENGINE_RETRY).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = send => false,
        ended = ended_within(inner, id, at_most) => ended,
    }
}

async fn ended_within<C: Containers>(inner: &Inner<C>, id: DynoId, at_most: Duration) -> bool {
    let Some(mut state) = inner.watch(id) else { return true };
    let end = state.wait_for(|state| matches!(state, State::Complete(_)));
    timeout(at_most, end).await.is_ok()
}
