//! What has to be done now and then so that nothing grows for ever.

use super::Role;
use crate::services::Services;
use crate::state::{StateError, oneoffs, slugs, sources};
use crate::tls::ServerTls;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_mins(10);
/// A slug that no release names yet may be about to be released.
const SLUG_GRACE: Duration = Duration::from_hours(1);
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
    let now = Timestamp::now();
    let before = move |kept: SignedDuration| (now - kept).as_millisecond();
    let (keep, sources) = services
        .store
        .write(move |tx| {
            oneoffs::collect(tx, before(ONEOFFS_KEPT))?;
            Ok((slugs::digests_in_use(tx)?, sources::collect(tx, before(SOURCES_KEPT))?))
        })
        .await?;
    for token in sources {
        // Never uploaded, or gone already.
        drop(std::fs::remove_file(services.config.data.join("sources").join(token)));
    }
    let slugs = services.slugs.clone();
    let collected = tokio::task::spawn_blocking(move || {
        slugs.collect(&keep, SLUG_GRACE, std::time::SystemTime::now())
    });
    if let Ok(Err(error)) = collected.await {
        tracing::error!(error = &error as &dyn std::error::Error, "slugs could not be collected");
    }
    Ok(())
}
