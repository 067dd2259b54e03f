//! The system app: its releases are versions of the platform itself.

use super::model::{Account, App, Slug};
use super::releases::{self, Change};
use super::{StateError, Tx, apps, formation};
use std::path::{Component, Path, PathBuf};

/// Its name, as that of the project.
pub const NAME: &str = "lathe";
/// What of a slug is the platform.
pub const PROCESS_TYPE: &str = "platform";

/// What a version of the platform is given and no other app can have: it is no dyno.
pub const GRANTS: [&str; 3] = ["host", "state", "ports"];

/// The system app, made when there is none: whatever runs now is its first release.
pub fn ensure(tx: &Tx<'_>, owner: &Account) -> Result<App, StateError> {
    if let Some(app) = apps::system(tx)? {
        return Ok(app);
    }
    let app = apps::create(tx, NAME, owner)?;
    apps::set_system(tx, &app.id)?;
    formation::fix(tx, &app.id, PROCESS_TYPE)?;
    let app = apps::by_id(tx, &app.id)?;
    let description = "The program that was started here".into();
    releases::append(tx, &app, owner, Change { description, slug: None, config: None })?;
    apps::by_id(tx, &app.id)
}

/// Whether a release of the system app can be made now. One version is tried at a time: what is good
/// would not be known otherwise.
pub(super) fn check(tx: &Tx<'_>, app: &App, slug: Option<&Slug>) -> Result<(), StateError> {
    if let Some(version) = apps::by_id(tx, &app.id)?.candidate {
        return Err(StateError::Refused(format!(
            "The platform is about to become v{version}. Wait until that has come to its end: \
             heroku releases -a {}",
            app.name
        )));
    }
    slug.map_or(Ok(()), |slug| program(slug).map(drop))
}

/// Whether nobody waits for a build, or for a release to serve, which another platform would not answer.
pub fn is_quiet(tx: &Tx<'_>) -> Result<bool, StateError> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM builds WHERE status = 'pending') AND NOT EXISTS \
        (SELECT 1 FROM apps WHERE candidate IS NOT NULL AND system = 0)";
    Ok(tx.sql.query_row(sql, [], |row| row.get(0))?)
}

/// The platform's program in a slug, relative to the app's directory: the first word of the process
/// type, which has to be `PROGRAM up`.
pub fn program(slug: &Slug) -> Result<PathBuf, StateError> {
    let words = slug.command(PROCESS_TYPE).map(str::split_whitespace);
    let words: Vec<&str> = words.into_iter().flatten().collect();
    let is_inside = |path: &Path| {
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    match words.as_slice() {
        [program, "up"] if is_inside(Path::new(program)) => Ok(PathBuf::from(program)),
        _ => Err(StateError::Refused(format!(
            "The Procfile of a version of the platform needs the line `{PROCESS_TYPE}: PROGRAM up`, \
             with the program's path in the slug"
        ))),
    }
}
