//! Apps and who may use them.

use super::accounts::account_at;
use super::model::{Account, App, Collaborator};
use super::{StateError, Tx, ms, system, time};
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

const APPS: &str = "SELECT p.id, p.name, p.uid, p.maintenance, p.current, p.candidate, \
    p.created_ms, p.updated_ms, a.id, a.email, a.created_ms, p.system, p.acm \
    FROM apps p JOIN accounts a ON a.id = p.owner";

/// Heroku's rule for names: lower-case letters, digits and dashes, a letter first, 3 to 30 long.
pub fn is_valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (3..=30).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// Heroku's limit for a verified account (Heroku Dev Center, Limits).
const APPS_MAX: u32 = 100;

/// Makes an app with a Unix user of its own.
pub fn create(tx: &Tx<'_>, name: &str, owner: &Account) -> Result<App, StateError> {
    check_name(tx, name)?;
    let count = "SELECT COUNT(*) FROM apps WHERE owner = ?1 AND system = 0";
    if tx.sql.query_row(count, [&owner.id], |row| row.get::<_, u32>(0))? >= APPS_MAX {
        return Err(StateError::Refused(format!("You've reached the limit of {APPS_MAX} apps")));
    }
    insert(tx, name, owner)
}

/// Makes the app whose releases are versions of the platform.
pub(super) fn create_system(tx: &Tx<'_>, owner: &Account) -> Result<App, StateError> {
    if is_taken(tx, system::NAME)? {
        return Err(StateError::Refused(format!(
            "An app is called {0}, as the platform itself has to be: start it with `lathe up` alone, \
             then `heroku apps:rename NEW -a {0}`",
            system::NAME
        )));
    }
    let app = insert(tx, system::NAME, owner)?;
    touch(tx, &app.id, "system", &true)?;
    by_id(tx, &app.id)
}

fn insert(tx: &Tx<'_>, name: &str, owner: &Account) -> Result<App, StateError> {
    // A counter of its own, so that the user of a destroyed app is not given to a later one.
    let uid: u32 =
        tx.sql.query_row("UPDATE uids SET next = next + 1 RETURNING next - 1", [], |row| {
            row.get(0)
        })?;
    let id = Uuid::new_v4().to_string();
    tx.sql.execute(
        "INSERT INTO apps (id, name, owner, uid, created_ms, updated_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        params![id, name, owner.id, uid, ms(tx.now)],
    )?;
    by_id(tx, &id)
}

pub fn rename(tx: &Tx<'_>, app: &str, name: &str) -> Result<(), StateError> {
    check_name(tx, name)?;
    touch(tx, app, "name", &name)
}

fn check_name(tx: &Tx<'_>, name: &str) -> Result<(), StateError> {
    if !is_valid_name(name) {
        return Err(StateError::Refused(
            "Name must start with a letter, end with a letter or digit, can only contain \
             lowercase letters, digits, and dashes, and must be 3 to 30 characters long"
                .into(),
        ));
    }
    // Also where the platform is no app yet: it can become one at any time.
    if name == system::NAME || is_taken(tx, name)? {
        return Err(StateError::Refused(format!("Name {name} is already taken")));
    }
    Ok(())
}

fn is_taken(tx: &Tx<'_>, name: &str) -> Result<bool, StateError> {
    let taken = tx.sql.query_row("SELECT 1 FROM apps WHERE name = ?1", [name], |_| Ok(()));
    Ok(taken.optional()?.is_some())
}

/// The app whose releases are versions of the platform, if there is one.
pub fn system(tx: &Tx<'_>) -> Result<Option<App>, StateError> {
    let sql = format!("{APPS} WHERE p.system = 1");
    Ok(tx.sql.query_row(&sql, [], app_of).optional()?)
}

pub fn set_maintenance(tx: &Tx<'_>, app: &str, on: bool) -> Result<(), StateError> {
    touch(tx, app, "maintenance", &on)
}

pub(super) fn set_current(tx: &Tx<'_>, app: &str, version: u32) -> Result<(), StateError> {
    touch(tx, app, "current", &version)
}

pub(super) fn set_candidate(
    tx: &Tx<'_>,
    app: &str,
    version: Option<u32>,
) -> Result<(), StateError> {
    touch(tx, app, "candidate", &version)
}

/// `column` is one of this file's own literals, never input.
fn touch(
    tx: &Tx<'_>,
    app: &str,
    column: &'static str,
    value: &dyn rusqlite::ToSql,
) -> Result<(), StateError> {
    let sql = format!("UPDATE apps SET {column} = ?1, updated_ms = ?2 WHERE id = ?3");
    tx.sql.execute(&sql, params![value, ms(tx.now), app])?;
    Ok(())
}

/// Removes the app and every row that belongs to it.
pub fn destroy(tx: &Tx<'_>, app: &str) -> Result<(), StateError> {
    tx.sql.execute("DELETE FROM releases WHERE app = ?1", [app])?;
    tx.sql.execute("DELETE FROM apps WHERE id = ?1", [app])?;
    Ok(())
}

pub fn by_id(tx: &Tx<'_>, id: &str) -> Result<App, StateError> {
    let sql = format!("{APPS} WHERE p.id = ?1");
    tx.sql.query_row(&sql, [id], app_of).map_err(StateError::missing("app"))
}

pub fn all(tx: &Tx<'_>) -> Result<Vec<App>, StateError> {
    let sql = format!("{APPS} ORDER BY p.name");
    let mut statement = tx.sql.prepare(&sql)?;
    let rows = statement.query_map([], app_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The apps that `account` owns or works on.
pub fn visible_to(tx: &Tx<'_>, account: &str) -> Result<Vec<App>, StateError> {
    let sql = format!("{APPS} WHERE {VISIBLE} ORDER BY p.name");
    let mut statement = tx.sql.prepare(&sql)?;
    let rows = statement.query_map([account], app_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const VISIBLE: &str = "(p.owner = ?1 OR EXISTS \
    (SELECT 1 FROM collaborators c WHERE c.app = p.id AND c.account = ?1))";

/// The app that `account` calls `identity` (id or name). What they may not see does not exist.
pub fn for_account(tx: &Tx<'_>, account: &str, identity: &str) -> Result<App, StateError> {
    let sql = format!("{APPS} WHERE {VISIBLE} AND (p.id = ?2 OR p.name = ?2)");
    tx.sql.query_row(&sql, [account, identity], app_of).map_err(StateError::missing("app"))
}

fn app_of(row: &Row<'_>) -> rusqlite::Result<App> {
    Ok(App {
        id: row.get(0)?,
        name: row.get(1)?,
        uid: row.get(2)?,
        maintenance: row.get(3)?,
        current: row.get(4)?,
        candidate: row.get(5)?,
        created_at: time(row.get(6)?),
        updated_at: time(row.get(7)?),
        owner: account_at(row, 8)?,
        system: row.get(11)?,
        acm: row.get(12)?,
    })
}

/// The owner first, then everybody who was let in.
pub fn collaborators(tx: &Tx<'_>, app: &App) -> Result<Vec<Collaborator>, StateError> {
    let owner = Collaborator {
        id: app.owner.id.clone(),
        account: app.owner.clone(),
        owner: true,
        created_at: app.created_at,
    };
    let mut statement = tx.sql.prepare(
        "SELECT c.id, c.created_ms, a.id, a.email, a.created_ms FROM collaborators c \
         JOIN accounts a ON a.id = c.account WHERE c.app = ?1 ORDER BY a.email",
    )?;
    let rows = statement.query_map([&app.id], |row| {
        Ok(Collaborator {
            id: row.get(0)?,
            created_at: time(row.get(1)?),
            account: account_at(row, 2)?,
            owner: false,
        })
    })?;
    std::iter::once(Ok(owner)).chain(rows.map(|row| Ok(row?))).collect()
}

pub fn add_collaborator(tx: &Tx<'_>, app: &App, account: &Account) -> Result<(), StateError> {
    if app.owner.id == account.id {
        return Err(StateError::Refused(format!("{} already owns this app", account.email)));
    }
    tx.sql.execute(
        "INSERT OR IGNORE INTO collaborators VALUES (?1, ?2, ?3, ?4)",
        params![Uuid::new_v4().to_string(), app.id, account.id, ms(tx.now)],
    )?;
    Ok(())
}

pub fn remove_collaborator(tx: &Tx<'_>, app: &str, account: &str) -> Result<(), StateError> {
    match tx
        .sql
        .execute("DELETE FROM collaborators WHERE app = ?1 AND account = ?2", [app, account])?
    {
        0 => Err(StateError::NotFound("collaborator")),
        _ => Ok(()),
    }
}
