//! What has to be done now and then so that nothing grows for ever.

use super::{Role, reserve};
use crate::services::Services;
use crate::state::{StateError, apps, oneoffs, slugs, sources};
use crate::tls::ServerTls;
use jiff::{SignedDuration, Timestamp};
use lathe_logs::AppId;
use lathe_logs::clock::steady;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_mins(10);
/// A slug that no release names yet may be about to be released.
const SLUG_GRACE: Duration = Duration::from_hours(1);
/// An uploaded slug that is to be released is released by then; its blob goes with it.
const SLUGS_KEPT: SignedDuration = SignedDuration::from_hours(1);
const SOURCES_KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Long enough to be asked for the exit status of a detached one-off.
const ONEOFFS_KEPT: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn start(services: &Services, tls: &Arc<ServerTls>) -> Role {
    let (services, tls) = (services.clone(), tls.clone());
    Role::start("housekeeping", |stop| async move {
        tokio::select! {
            () = run(services, stop) => {}
            () = tls.keep_renewed() => {}
        }
    })
}

async fn run(services: Services, stop: CancellationToken) {
    loop {
        reserve::keep(&services.config);
        if let Err(error) = tidy(&services).await {
            tracing::error!(error = &error as &dyn std::error::Error, "housekeeping failed");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn tidy(services: &Services) -> Result<(), StateError> {
    // Old is what is old by either clock: the system's may have been set forth or back.
    let now = Timestamp::now().min(steady());
    let before = move |kept: SignedDuration| (now - kept).as_millisecond();
    // First: an app that is made meanwhile has no line yet.
    let logged = services.hub.apps();
    let (keep, apps) = services
        .store
        .write(move |tx| {
            oneoffs::collect(tx, before(ONEOFFS_KEPT))?;
            slugs::collect(tx, before(SLUGS_KEPT))?;
            sources::collect(tx, before(SOURCES_KEPT))?;
            Ok((slugs::digests_in_use(tx)?, apps::all(tx)?))
        })
        .await?;
    let apps: HashSet<_> = apps.into_iter().map(|app| AppId::new(&app.id)).collect();
    // What their dynos said as they ended came after they were forgotten.
    for gone in logged.iter().filter(|app| !apps.contains(app)) {
        services.hub.forget(gone);
    }
    let (slugs, archives) = (services.slugs.clone(), services.config.data.join("sources"));
    let collected = tokio::task::spawn_blocking(move || {
        remove_old(&archives, now - SOURCES_KEPT);
        slugs.collect(&keep, SLUG_GRACE, SystemTime::from(now))
    });
    if let Ok(Err(error)) = collected.await {
        tracing::error!(error = &error as &dyn std::error::Error, "slugs could not be collected");
    }
    Ok(())
}

/// By age and not by the rows, so that uploads which a crash has cut off go too.
fn remove_old(archives: &Path, before: Timestamp) {
    let before = SystemTime::from(before);
    // Whatever cannot be looked at or removed now is tried again the next time.
    for entry in std::fs::read_dir(archives).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|modified| modified < before) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}
