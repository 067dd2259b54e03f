//! The release phase: the `release` process of a slug runs once, before anything of it boots.
//!
//! Heroku Dev Center, "Release Phase": non-zero means the release has failed and nothing changes.
//!
//! Its dyno has the identity of the release. So another life of the platform finds it while it runs,
//! or how it has ended, and no engine starts it twice.

use super::{said, wanted};
use crate::services::Services;
use crate::state::model::{OneOff, OneOffState, Release, ReleaseStatus};
use crate::state::oneoffs::{self, NewOneOff};
use crate::state::{StateError, Tx, apps, releases};
use lathe_dynos::class::Class;
use lathe_dynos::containers::Ended;
use lathe_dynos::oneoff::Attachment;
use lathe_dynos::spec::{DynoId, DynoSpec};
use lathe_logs::Source;
use std::collections::BTreeSet;
use std::time::Duration;

const TYPE: &str = "release";
/// While the state's disk fails.
const RECORD_RETRY: Duration = Duration::from_secs(2);
/// Of what it printed, this many lines are kept with the release.
const OUTPUT_LINES_MAX: usize = 500;
/// Of one that nobody knows the end of: as if killed.
const LOST: u8 = 128 + 9;
/// Between recording a dyno and giving it to the engine lies less than so many of these pauses.
const HANDOVER_LOOKS: u32 = 40;
const HANDOVER_PAUSE: Duration = Duration::from_millis(250);

/// What a phase has come to before anybody looks after it.
#[derive(PartialEq, Eq, Debug)]
enum Before {
    Nothing,
    Runs,
    Ended(u8),
}

/// What is to be done for a phase, and under which name it is in the app's log.
struct Prepared {
    id: DynoId,
    name: String,
    next: Next,
}

enum Next {
    Start(Box<DynoSpec>),
    Await,
    Use(u8),
}

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
        // Given up, it comes up once more: that is for errors that stay.
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
    // One that was overtaken was ended for that: nobody waits to hear of it.
    if let Err(reason) = &result
        && is_pending(services, app, version).await?
    {
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

/// False also when its app is no more.
async fn is_pending(services: &Services, app: &str, version: u32) -> Result<bool, StateError> {
    let app = app.to_owned();
    match services.store.read(move |tx| releases::by_version(tx, &app, version)).await {
        Ok(release) => Ok(release.status == ReleaseStatus::Pending),
        Err(StateError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn attempt(
    services: &Services,
    app: &str,
    version: u32,
) -> Result<Result<(), String>, StateError> {
    end_overtaken(services, app, version).await?;
    let Prepared { id, name, next } = match prepare(services, app, version).await? {
        Ok(prepared) => prepared,
        Err(reason) => return Ok(Err(reason.to_owned())),
    };
    let ended = match next {
        Next::Use(status) => Some(Ended { status, ..Ended::default() }),
        Next::Await => wait(services, id).await?,
        Next::Start(spec) => match services.oneoffs.start(id, *spec, Attachment::Detached).await {
            Ok(_) => wait(services, id).await?,
            Err(error) => {
                complete(services, id, 1).await?;
                return Ok(Err(format!("the release command could not be started: {error}")));
            }
        },
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

/// Ends the commands of releases that this one has overtaken, and waits until they have: two
/// migrations must not be at one database at once.
async fn end_overtaken(services: &Services, app: &str, version: u32) -> Result<(), StateError> {
    // Before the engine has said what is left of an earlier life, nothing of it can be stopped.
    drop(services.oneoffs.all().await);
    for _ in 0..HANDOVER_LOOKS {
        let app = app.to_owned();
        let earlier =
            services.store.read(move |tx| oneoffs::phases_before(tx, &app, version)).await?;
        let mut unknown = false;
        for id in earlier.iter().filter_map(|id| id.parse().ok().map(DynoId)) {
            services.oneoffs.stop(id, services.config.dynos.stop_grace);
            unknown |= services.oneoffs.wait(id).await.is_err();
        }
        if !unknown {
            break;
        }
        // It may be between its record and its start just now.
        tokio::time::sleep(HANDOVER_PAUSE).await;
    }
    Ok(())
}

/// What is on record of a phase, and whether an engine has its dyno.
fn before(row: Option<&OneOff>, has_dyno: bool) -> Before {
    let ended = row.filter(|row| row.state == OneOffState::Complete);
    match (ended, has_dyno) {
        (Some(row), _) => Before::Ended(row.status.unwrap_or(LOST)),
        (None, true) => Before::Runs,
        // The platform ended between the row and the start.
        (None, false) => Before::Nothing,
    }
}

/// Or why there is nothing to be done.
async fn prepare(
    services: &Services,
    app: &str,
    version: u32,
) -> Result<Result<Prepared, &'static str>, StateError> {
    let dynos: BTreeSet<DynoId> = services.oneoffs.all().await.iter().map(|one| one.id).collect();
    let app = app.to_owned();
    let services_there = services.clone();
    services
        .store
        .write(move |tx| {
            let release = releases::by_version(tx, &app, version)?;
            if release.status != ReleaseStatus::Pending {
                return Ok(Err("a newer release came before the release command had run"));
            }
            let id = release.id.parse().map_or_else(|_| DynoId::random(), DynoId);
            let row = oneoffs::find(tx, &release.id)?;
            let next = match before(row.as_ref(), dynos.contains(&id)) {
                Before::Nothing => return record_new(tx, &services_there, &app, &release, id),
                Before::Runs => Next::Await,
                Before::Ended(status) => Next::Use(status),
            };
            let name = row.map(|row| row.name).unwrap_or_default();
            Ok(Ok(Prepared { id, name, next }))
        })
        .await
}

fn record_new(
    tx: &Tx<'_>,
    services: &Services,
    app: &str,
    release: &Release,
    id: DynoId,
) -> Result<Result<Prepared, &'static str>, StateError> {
    const NOT_HERE: &str = "the release command cannot run: its slug or its stack is not here";
    let app = apps::by_id(tx, app)?;
    let config = &services.config;
    let command = release.slug.as_ref().and_then(|slug| slug.command(TYPE));
    let class = config.classes.named(&config.release_class);
    let (Some(command), Some(class)) = (command, class) else { return Ok(Err(NOT_HERE)) };
    oneoffs::withdraw(tx, &id.to_string())?;
    let new = new_one_off(id, release, command, &class);
    let name = oneoffs::create(tx, &app.id, &new, release.version)?.name;
    let root = |stack: &str| services.stack_root(stack);
    let spec = wanted::spec(&app, release, name.clone(), command.to_owned(), class, &root);
    let Some(spec) = spec else {
        // Those that come after it would wait for it to end.
        oneoffs::withdraw(tx, &id.to_string())?;
        return Ok(Err(NOT_HERE));
    };
    Ok(Ok(Prepared { id, name, next: Next::Start(Box::new(spec)) }))
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

/// How it ended; none when it had to be ended for taking too long. Of one that was found running the
/// time counts from then on.
async fn wait(services: &Services, id: DynoId) -> Result<Option<Ended>, StateError> {
    let ended =
        tokio::time::timeout(services.config.dynos.release_timeout, services.oneoffs.wait(id))
            .await;
    match ended {
        Ok(Ok(ended)) => Ok(Some(ended)),
        // Whoever takes up what an earlier life has left has recorded its end and let it go.
        Ok(Err(_)) => {
            let row = services.store.read(move |tx| oneoffs::find(tx, &id.to_string())).await?;
            let status = row.and_then(|row| row.status).unwrap_or(LOST);
            Ok(Some(Ended { status, ..Ended::default() }))
        }
        Err(_) => {
            services.oneoffs.stop(id, services.config.dynos.stop_grace);
            drop(services.oneoffs.wait(id).await);
            Ok(None)
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: OneOffState, status: Option<u8>) -> OneOff {
        OneOff {
            id: "id".into(),
            app: "app".into(),
            name: "release.1".into(),
            process_type: TYPE.into(),
            command: "migrate".into(),
            size: "Standard-1X".into(),
            release: 1,
            attached: false,
            state,
            status,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_command_that_runs_or_has_ended_is_not_started_again() {
        for (row, has_dyno, expected) in [
            (None, false, Before::Nothing),
            (Some(row(OneOffState::Starting, None)), false, Before::Nothing),
            (Some(row(OneOffState::Up, None)), false, Before::Nothing),
            (Some(row(OneOffState::Starting, None)), true, Before::Runs),
            (Some(row(OneOffState::Up, None)), true, Before::Runs),
            (Some(row(OneOffState::Complete, Some(4))), true, Before::Ended(4)),
            (Some(row(OneOffState::Complete, Some(0))), false, Before::Ended(0)),
        ] {
            assert_eq!(before(row.as_ref(), has_dyno), expected, "{row:?}");
        }
    }
}
