//! A one-off's row in the state, kept in step with its life: recorded, up, complete, forgotten.

use crate::services::Services;
use crate::state::{StateError, oneoffs};
use jiff::Timestamp;
use lathe_dynos::containers::{StartError, Started};
use lathe_dynos::oneoff::Attachment;
use lathe_dynos::spec::{DynoId, DynoSpec};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The status of a one-off that was never started.
pub(super) const NEVER_RAN: u8 = 1;
/// Of one that nobody knows the end of: as if killed.
const LOST: u8 = 128 + 9;
/// Between recording a one-off and giving it to the engine lies less than this.
const HANDOVER_MAX: Duration = Duration::from_secs(10);
/// An end from before the platform's start is told in less than this after it.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// A one-off that runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) started: Started,
    pub(super) end: End,
}

/// News of a one-off's end, told once that is on record.
#[derive(Clone, Debug)]
pub(super) struct End(watch::Receiver<Option<u8>>);

impl End {
    /// Waits for it; gives the status.
    pub(super) async fn wait(&mut self) -> u8 {
        let told = self.0.wait_for(Option::is_some).await;
        told.ok().and_then(|status| *status).unwrap_or(LOST)
    }

    pub(super) fn is_known(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// Why a recorded one-off does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotStarted {
    #[error("it was stopped, or its app was destroyed, before it began")]
    Withdrawn,
    #[error("its record could not be read")]
    State(#[from] StateError),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Starts what is recorded under `id`; from then on its row follows it.
pub(super) async fn start(
    services: &Services,
    id: DynoId,
    spec: DynoSpec,
    attachment: Attachment,
) -> Result<Live, NotStarted> {
    if !services.store.read(move |tx| oneoffs::is_starting(tx, &id.to_string())).await? {
        return Err(NotStarted::Withdrawn);
    }
    match services.oneoffs.start(id, spec, attachment).await {
        Ok(started) => {
            let (tell, end) = watch::channel(None);
            let services = services.clone();
            tokio::spawn(async move {
                tell.send_replace(Some(see_through(services, id).await));
            });
            Ok(Live { started, end: End(end) })
        }
        // The row belongs to the first start.
        Err(error @ StartError::Repeated(_)) => Err(error.into()),
        Err(error) => {
            complete(services, id, NEVER_RAN).await;
            Err(error.into())
        }
    }
}

/// A one-off whose output goes into the app's log.
#[derive(Clone, Copy, Debug)]
pub struct Detached;

impl Detached {
    /// Starts what is recorded under `id` and returns at once. The app's log tells the rest, also
    /// why it could not be started.
    pub fn start(services: Services, id: DynoId, spec: DynoSpec) {
        tokio::spawn(async move {
            if let Err(error) = start(&services, id, spec, Attachment::Detached).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(dyno.id = %id, error, "a one-off could not be started");
            }
        });
    }
}

/// Takes up the one-offs of an earlier life of the platform: waits for those that run, and
/// completes the rows of those that are gone. Call it before clients can make new ones.
pub fn resume(services: Services) -> impl Future<Output = ()> + Send {
    let now = Timestamp::now();
    async move {
        // In this order: whatever the engine knows by now was recorded before.
        let known = services.oneoffs.all().await;
        let earlier = match services.store.read(oneoffs::running).await {
            Ok(earlier) => earlier,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "one-offs of an earlier life could not be read");
                return;
            }
        };
        let mut waits = JoinSet::new();
        let rows: BTreeSet<String> = earlier.iter().map(|row| row.id.clone()).collect();
        for one_off in known.into_iter().filter(|known| !rows.contains(&known.id.to_string())) {
            let services = services.clone();
            waits.spawn(async move { end_unrecorded(&services, one_off.id).await });
        }
        for row in earlier.into_iter().filter(|row| row.created_at <= now) {
            let Ok(id) = row.id.parse().map(DynoId) else { continue };
            let services = services.clone();
            waits.spawn(async move {
                if services.oneoffs.wait(id).await.is_err() {
                    // A release phase may be between its record and its start just now.
                    tokio::time::sleep(HANDOVER_MAX).await;
                }
                see_through(services, id).await;
            });
        }
        while waits.join_next().await.is_some() {}
    }
}

/// Its end was recorded, or its app destroyed, and then the platform ended. Of a destroyed app it may
/// have been asked to end, which is forgotten with the platform: nobody else would ask again.
async fn end_unrecorded(services: &Services, id: DynoId) {
    let ended = tokio::time::timeout(TOLD_MAX, services.oneoffs.wait(id)).await;
    if ended.is_err() {
        services.oneoffs.stop(id, services.config.dynos.stop_grace);
    }
    forget(services, id).await;
}

/// From the start to the end on record, whose status it gives; then the engine need not keep it.
async fn see_through(services: Services, id: DynoId) -> u8 {
    let up = services.store.write(move |tx| oneoffs::set_up(tx, &id.to_string())).await;
    if let Err(error) = up {
        let error = &error as &dyn std::error::Error;
        tracing::error!(dyno.id = %id, error, "a one-off that runs could not be recorded as up");
    }
    let ended = services.oneoffs.wait(id).await;
    let status = ended.map_or(LOST, |ended| ended.status);
    if !complete(&services, id, status).await {
        // The engine still knows how it ended, and will be asked at the next start.
        return status;
    }
    forget(&services, id).await;
    status
}

async fn forget(services: &Services, id: DynoId) {
    if let Err(error) = services.oneoffs.forget(id).await {
        let error = &error as &dyn std::error::Error;
        tracing::debug!(dyno.id = %id, error, "an ended one-off was not kept");
    }
}

/// Whether the end is on record.
pub(super) async fn complete(services: &Services, id: DynoId, status: u8) -> bool {
    let done = services.store.write(move |tx| oneoffs::complete(tx, &id.to_string(), status)).await;
    if let Err(error) = &done {
        let error = error as &dyn std::error::Error;
        tracing::error!(dyno.id = %id, error, "the end of a one-off could not be recorded");
    }
    done.is_ok()
}
