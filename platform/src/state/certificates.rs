//! Certificates of apps with their keys (Heroku: SNI endpoints). The keys are stored sealed.

use super::model::Certificate;
use super::{StateError, Tx, ms, time};
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

const CERTIFICATES: &str =
    "SELECT id, app, name, chain, key, issued_for, created_ms, updated_ms FROM certificates";

/// Those that an app was given; those issued for its names are as many as it has names.
const GIVEN_MAX: usize = 50;

/// A chain and its key, both PEM, that belong together.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    pub chain: &'a str,
    pub key: &'a str,
}

/// What somebody has given the app.
pub fn add(tx: &Tx<'_>, app: &str, new: New<'_>) -> Result<Certificate, StateError> {
    let given = of_app(tx, app)?.iter().filter(|one| one.issued_for.is_none()).count();
    if given >= GIVEN_MAX {
        return Err(StateError::Refused(format!("An app has {GIVEN_MAX} certificates at most")));
    }
    insert(tx, app, new, None)
}

/// What an authority has issued for one of the app's names, in place of what it issued before.
pub fn put_issued(
    tx: &Tx<'_>,
    app: &str,
    hostname: &str,
    new: New<'_>,
) -> Result<Certificate, StateError> {
    let sql = "SELECT id FROM certificates WHERE app = ?1 AND issued_for = ?2";
    let known: Option<String> =
        tx.sql.query_row(sql, [app, hostname], |row| row.get(0)).optional()?;
    match known {
        Some(id) => replace(tx, app, &id, new),
        None => insert(tx, app, new, Some(hostname)),
    }
}

fn insert(
    tx: &Tx<'_>,
    app: &str,
    new: New<'_>,
    issued_for: Option<&str>,
) -> Result<Certificate, StateError> {
    let id = Uuid::new_v4();
    let (sealed, id) = (tx.secrets.seal(app, new.key.as_bytes()), id.to_string());
    let name = format!("cert-{}", id.get(..8).unwrap_or(&id));
    tx.sql.execute(
        "INSERT INTO certificates VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        params![id, app, name, new.chain, sealed, issued_for, ms(tx.now)],
    )?;
    by_identity(tx, app, &id)
}

pub fn replace(
    tx: &Tx<'_>,
    app: &str,
    identity: &str,
    new: New<'_>,
) -> Result<Certificate, StateError> {
    let known = by_identity(tx, app, identity)?;
    tx.sql.execute(
        "UPDATE certificates SET chain = ?1, key = ?2, updated_ms = ?3 WHERE id = ?4",
        params![new.chain, tx.secrets.seal(app, new.key.as_bytes()), ms(tx.now), known.id],
    )?;
    by_identity(tx, app, &known.id)
}

pub fn remove(tx: &Tx<'_>, app: &str, identity: &str) -> Result<Certificate, StateError> {
    let known = by_identity(tx, app, identity)?;
    tx.sql.execute("DELETE FROM certificates WHERE id = ?1", [&known.id])?;
    Ok(known)
}

/// Forgets what was issued for names that `keep` does not want any more.
pub fn remove_issued(
    tx: &Tx<'_>,
    app: &str,
    keep: impl Fn(&str) -> bool,
) -> Result<(), StateError> {
    for one in of_app(tx, app)? {
        if one.issued_for.is_some_and(|hostname| !keep(&hostname)) {
            tx.sql.execute("DELETE FROM certificates WHERE id = ?1", [&one.id])?;
        }
    }
    Ok(())
}

/// By id or name.
pub fn by_identity(tx: &Tx<'_>, app: &str, identity: &str) -> Result<Certificate, StateError> {
    let sql = format!("{CERTIFICATES} WHERE app = ?1 AND (id = ?2 OR name = ?2)");
    let found = tx.sql.query_row(&sql, [app, identity], sealed);
    open(tx, found.map_err(StateError::missing("sni endpoint"))?)
}

pub fn of_app(tx: &Tx<'_>, app: &str) -> Result<Vec<Certificate>, StateError> {
    let sql = format!("{CERTIFICATES} WHERE app = ?1 ORDER BY name");
    let mut statement = tx.sql.prepare(&sql)?;
    let rows = statement.query_map([app], sealed)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|row| open(tx, row)).collect()
}

/// The ids of the apps that have any, or shall have.
pub fn apps(tx: &Tx<'_>) -> Result<Vec<String>, StateError> {
    let sql = "SELECT id FROM apps WHERE acm = 1 UNION SELECT app FROM certificates";
    let mut statement = tx.sql.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn open(tx: &Tx<'_>, (row, key): (Certificate, Vec<u8>)) -> Result<Certificate, StateError> {
    let key = tx.secrets.open_sealed(&row.app, &key)?;
    Ok(Certificate { key: String::from_utf8_lossy(&key).into_owned(), ..row })
}

fn sealed(row: &Row<'_>) -> rusqlite::Result<(Certificate, Vec<u8>)> {
    let certificate = Certificate {
        id: row.get(0)?,
        app: row.get(1)?,
        name: row.get(2)?,
        chain: row.get(3)?,
        key: String::new(),
        issued_for: row.get(5)?,
        created_at: time(row.get(6)?),
        updated_at: time(row.get(7)?),
    };
    Ok((certificate, row.get(4)?))
}
