//! Does one action at an engine and turns the answer into a fact. No decisions here.

use crate::cell::health;
use crate::checks::{Check, Checks, Outcome};
use crate::containers::{Containers, EngineError, Signal, Start, StartError};
use crate::output::pump::PumpEnd;
use crate::output::state_line as line;
use crate::spec::DynoId;
use crate::tracked::{Action, Fact};
use std::error::Error;
use std::net::SocketAddrV4;
use std::time::Duration;

/// An engine that takes longer is taken for dead until it lists its containers again. The first
/// start of a slug on a machine unpacks it.
pub(crate) const START_TIMEOUT: Duration = Duration::from_mins(5);
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a dyno's last lines may take to come out of its pipes.
const PUMP_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn start<C: Containers>(engine: &C, start: Start) -> Fact {
    let id = start.id;
    match engine.start(start).await {
        Ok(started) => Fact::Started { id, address: started.address },
        Err(StartError::Engine(EngineError::Gone) | StartError::Repeated(_)) => {
            Fact::StartUnanswered { id }
        }
        Err(error) => {
            let line = match &error {
                StartError::SlugChecksum { expected, actual } => Some(line::r17(expected, actual)),
                _ => None,
            };
            Fact::NotStarted { id, reason: chain(&error), line }
        }
    }
}

pub(crate) async fn terminate<C: Containers>(engine: &C, id: DynoId) -> Option<Fact> {
    match engine.signal(id, Signal::SIGTERM).await {
        Ok(()) | Err(EngineError::Unknown(_)) => None,
        Err(error) => {
            tracing::warn!(dyno.id = %id, error = chain(&error), "SIGTERM was not delivered");
            Some(Fact::NotTerminated { id })
        }
    }
}

pub(crate) async fn kill<C: Containers>(engine: &C, id: DynoId) {
    if let Err(error) = engine.kill(id).await {
        tracing::warn!(dyno.id = %id, error = chain(&error), "SIGKILL was not delivered");
    }
}

/// Not before its last line is out.
pub(crate) async fn forget<C: Containers>(engine: &C, id: DynoId, output: PumpEnd) -> Fact {
    drop(output.wait(PUMP_TIMEOUT).await);
    match engine.forget(id).await {
        Ok(()) | Err(EngineError::Unknown(_)) => Fact::Forgotten { id },
        Err(error) => {
            tracing::warn!(dyno.id = %id, error = chain(&error), "an ended dyno was not removed");
            Fact::NotForgotten { id }
        }
    }
}

/// A dyno is up when a connection to its port is taken, or it says that it is well; asking where it
/// listens first spares it the questions while it does not.
pub(crate) async fn probe<C: Containers>(
    engine: &C,
    id: DynoId,
    door: SocketAddrV4,
    checks: &Checks,
) -> Fact {
    let ports = engine.listening(id).await.unwrap_or_default();
    let well = ports.contains(&door.port())
        && match &checks.health {
            // Taken by the kernel is enough: whoever has just begun to listen may not accept yet.
            Check::Port => engine.connects(id, *door.ip(), door.port()).await,
            check => health::ask(engine, id, door, check, checks.timeout).await == Outcome::Well,
        };
    let readiness = match &checks.readiness {
        Some(check) if well => Some(health::ask(engine, id, door, check, checks.timeout).await),
        _ => None,
    };
    Fact::Probed { id, ports, well, readiness }
}

/// What it uses, and for its metrics how many of its processes want to run.
pub(crate) async fn sample<C: Containers>(engine: &C, id: DynoId, metrics: bool) -> Fact {
    let usage = engine.usage(id).await.ok();
    let runnable = if metrics { engine.runnable(id).await.ok() } else { None };
    Fact::Sampled { id, usage, runnable }
}

pub(crate) async fn list<C: Containers>(engine: &C) -> Fact {
    match engine.list().await {
        Ok(known) => Fact::Listed { known },
        Err(error) => {
            tracing::warn!(error = chain(&error), "the engine does not say what runs");
            Fact::NotListed
        }
    }
}

/// What is known when an action has no answer in time, or its task is gone.
pub(crate) fn unanswered(action: &Action) -> Option<Fact> {
    match action {
        Action::Start { .. } | Action::Kill { .. } => None,
        Action::Terminate { id } => Some(Fact::NotTerminated { id: *id }),
        Action::Forget { id } => Some(Fact::NotForgotten { id: *id }),
        Action::Probe { id } => {
            Some(Fact::Probed { id: *id, ports: Vec::new(), well: false, readiness: None })
        }
        Action::Check { id, vital, failures } => {
            let (id, vital, failures) = (*id, *vital, *failures);
            Some(Fact::Checked { id, vital, failures, outcome: Outcome::Unknown })
        }
        Action::Sample { id, .. } => Some(Fact::Sampled { id: *id, usage: None, runnable: None }),
        Action::List => Some(Fact::NotListed),
    }
}

/// The error with all its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
