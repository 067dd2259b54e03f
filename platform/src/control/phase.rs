//! The release phase: the `release` process of a slug runs once, before anything of it boots.
//!
//! Heroku Dev Center, "Release Phase": non-zero means the release has failed and nothing changes.

use super::{said, wanted};
use crate::services::Services;
use crate::state::model::Release;
use crate::state::oneoffs::{self, NewOneOff};
use crate::state::{StateError, apps, releases};
use lathe_dynos::class::Class;
use lathe_dynos::containers::Ended;
use lathe_dynos::oneoff::Attachment;
use lathe_dynos::spec::{DynoId, DynoSpec};
use lathe_logs::Source;
use std::time::Duration;

const TYPE: &str = "release";
/// While the state's disk fails.
const RECORD_RETRY: Duration = Duration::from_secs(2);
/// Of what it printed, this many lines are kept with the release.
const OUTPUT_LINES_MAX: usize = 500;

/// Runs the phase of one release and records how it went. Gives back which release it was.
pub(super) async fn run(services: Services, app: String, version: u32) -> (String, u32) {
    let result = match attempt(&services, &app, version).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a release phase could not be run"
            );
            Err("the release command could not be run; the platform's log says why".to_owned())
        }
    };
    while let Err(error) = record(&services, &app, version, result.clone()).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a release phase could not be recorded"
        );
        // Given up, it would be run once more: that is for errors that stay.
        if !error.is_of_the_disk() {
            break;
        }
        tokio::time::sleep(RECORD_RETRY).await;
    }
    (app, version)
}

async fn record(
    services: &Services,
    app: &str,
    version: u32,
    result: Result<(), String>,
) -> Result<(), StateError> {
    if let Err(reason) = &result {
        let first = reason.lines().next().unwrap_or_default();
        services.say(app, Source::App, "api", &format!("Release v{version} failed: {first}"));
    }
    let app = app.to_owned();
    let recorded = services.store.write(move |tx| match result {
        Ok(()) => releases::start_booting(tx, &releases::by_version(tx, &app, version)?.id),
        Err(reason) => releases::fail(tx, &app, version, &reason),
    });
    recorded.await
}

async fn attempt(
    services: &Services,
    app: &str,
    version: u32,
) -> Result<Result<(), String>, StateError> {
    let Some((id, spec)) = prepare(services, app, version).await? else {
        return Ok(Err("the release command cannot run: its slug or its stack is not here".into()));
    };
    let name = spec.name.clone();
    let ended = match services.oneoffs.start(id, spec, Attachment::Detached).await {
        Ok(_) => wait(services, id).await,
        Err(error) => {
            complete(services, id, 1).await?;
            return Ok(Err(format!("the release command could not be started: {error}")));
        }
    };
    let status = ended.map_or(1, |ended| ended.status);
    complete(services, id, status).await?;
    let output = keep_output(services, app, version, &name).await?;
    Ok(match ended {
        Some(Ended { status: 0, .. }) => Ok(()),
        Some(Ended { oom_killed: true, .. }) => {
            let class = &services.config.release_class;
            Err(format!("the release command used more memory than {class} has"))
        }
        Some(ended) => {
            Err(format!("the release command exited with status {}\n{output}", ended.status))
        }
        None => {
            let seconds = services.config.dynos.release_timeout.as_secs();
            Err(format!("the release command took longer than {seconds} seconds"))
        }
    })
}

async fn prepare(
    services: &Services,
    app: &str,
    version: u32,
) -> Result<Option<(DynoId, DynoSpec)>, StateError> {
    let id = DynoId::random();
    let app = app.to_owned();
    let roots = services.clone();
    services
        .store
        .write(move |tx| {
            let release = releases::by_version(tx, &app, version)?;
            let app = apps::by_id(tx, &app)?;
            let command = release.slug.as_ref().and_then(|slug| slug.command(TYPE));
            let (Some(command), Some(class)) =
                (command, roots.config.classes.named(&roots.config.release_class))
            else {
                return Ok(None);
            };
            let new = new_one_off(id, &release, command, &class);
            let row = oneoffs::create(tx, &app.id, &new, version)?;
            let command = command.to_owned();
            let root = |stack: &str| roots.stack_root(stack);
            let spec = wanted::spec(&app, &release, row.name, command, class, &root);
            Ok(spec.map(|spec| (id, spec)))
        })
        .await
}

fn new_one_off(id: DynoId, release: &Release, command: &str, class: &Class) -> NewOneOff {
    NewOneOff {
        id: id.to_string(),
        process_type: TYPE.into(),
        command: command.to_owned(),
        size: class.name.clone(),
        release: release.version,
        attached: false,
        account: release.account.id.clone(),
    }
}

/// How it ended; none when it had to be ended for taking too long.
async fn wait(services: &Services, id: DynoId) -> Option<Ended> {
    let ended =
        tokio::time::timeout(services.config.dynos.release_timeout, services.oneoffs.wait(id))
            .await;
    let Ok(ended) = ended else {
        services.oneoffs.stop(id, services.config.dynos.stop_grace);
        drop(services.oneoffs.wait(id).await);
        return None;
    };
    ended.ok()
}

async fn complete(services: &Services, id: DynoId, status: u8) -> Result<(), StateError> {
    services.store.write(move |tx| oneoffs::complete(tx, &id.to_string(), status)).await?;
    if let Err(error) = services.oneoffs.forget(id).await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "an ended release phase was not kept"
        );
    }
    Ok(())
}

/// Records with the release what its phase printed, and gives it back.
async fn keep_output(
    services: &Services,
    app: &str,
    version: u32,
    dyno: &str,
) -> Result<String, StateError> {
    let id = app.to_owned();
    let release = services.store.read(move |tx| releases::by_version(tx, &id, version)).await?;
    let output = said::by(services, &release, dyno, OUTPUT_LINES_MAX).await.join("\n");
    let (id, kept) = (release.id, output.clone());
    services.store.write(move |tx| releases::set_output(tx, &id, &kept)).await?;
    Ok(output)
}
