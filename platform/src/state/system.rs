//! The system app: its releases are versions of the platform itself.

use super::model::{Account, App, Slug};
use super::releases::{self, Change};
use super::{StateError, Tx, apps, formation};
use std::path::{Component, Path, PathBuf};

/// Its name, as that of the project.
pub const NAME: &str = "lathe";
/// The processes of a platform, by their types in the Procfile: only the first one has to be there.
pub const PLATFORM: &str = "platform";
pub const ROUTER: &str = "router";
pub const KEEPER: &str = "keeper";
const PARTS: [&str; 3] = [PLATFORM, ROUTER, KEEPER];

/// What follows the program in each one's command.
pub fn verb(part: &str) -> &'static [&'static str] {
    match part {
        ROUTER => &["router"],
        KEEPER => &["up", "--self-hosted"],
        _ => &["up"],
    }
}

/// What a version of the platform is given and no other app can have: it is no dyno.
pub const GRANTS: [&str; 3] = ["host", "state", "ports"];

/// The system app, made when there is none: whatever runs now is its first release.
pub fn ensure(tx: &Tx<'_>, owner: &Account) -> Result<App, StateError> {
    if let Some(app) = apps::system(tx)? {
        return Ok(app);
    }
    let app = apps::create_system(tx, owner)?;
    for part in PARTS {
        formation::fix(tx, &app.id, part)?;
    }
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
    slug.map_or(Ok(()), |slug| Programs::of(slug).map(drop))
}

/// Whether nobody waits for a build, for a release to serve, or for a one-off, which another platform would
/// not answer.
pub fn is_quiet(tx: &Tx<'_>) -> Result<bool, StateError> {
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM builds WHERE status = 'pending') AND NOT EXISTS \
        (SELECT 1 FROM apps WHERE candidate IS NOT NULL AND system = 0) AND NOT EXISTS \
        (SELECT 1 FROM oneoffs WHERE attached = 1 AND state <> 'complete')";
    Ok(tx.sql.query_row(sql, [], |row| row.get(0))?)
}

/// The programs of the platform's processes in a slug, relative to the app's directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Programs {
    pub platform: PathBuf,
    /// None where the Procfile has none.
    pub router: Option<PathBuf>,
    pub keeper: Option<PathBuf>,
}

impl Programs {
    pub fn of(slug: &Slug) -> Result<Self, StateError> {
        let part = |name| slug.command(name).map(|command| program(name, command)).transpose();
        let platform = part(PLATFORM)?.ok_or_else(|| refused(PLATFORM))?;
        Ok(Self { platform, router: part(ROUTER)?, keeper: part(KEEPER)? })
    }
}

/// The first word of its command, which is a file of the slug.
fn program(part: &str, command: &str) -> Result<PathBuf, StateError> {
    let mut words = command.split_whitespace();
    let is_inside = |path: &Path| {
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    };
    let program = words.next().map(Path::new).filter(|path| is_inside(path));
    match program {
        Some(program) if words.eq(verb(part).iter().copied()) => Ok(program.to_owned()),
        _ => Err(refused(part)),
    }
}

fn refused(part: &str) -> StateError {
    StateError::Refused(format!(
        "The Procfile of a version of the platform needs the line `{part}: PROGRAM {}`, with the \
         program's path in the slug",
        verb(part).join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_a_program_of_the_slug_and_its_verb() {
        let read = |part, command| program(part, command).ok();
        let good = Some(PathBuf::from("target/release/lathe"));
        assert_eq!(read(PLATFORM, "target/release/lathe up"), good);
        assert_eq!(read(ROUTER, " target/release/lathe  router "), good);
        assert_eq!(read(KEEPER, "target/release/lathe up --self-hosted"), good);
        let bad = ["", "up", "/bin/sh up", "../lathe up", "lathe up; true", "lathe up --set a=b"];
        for command in bad {
            assert_eq!(read(PLATFORM, command), None, "{command}");
        }
        assert_eq!(read(ROUTER, "lathe up"), None);
        assert_eq!(read(KEEPER, "lathe up"), None);
    }
}
