//! The formation: how many dynos of which size each process type has.

use super::model::{Formation, Slug};
use super::{StateError, Tx, ms, time};
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

/// Heroku's default limit on dynos of one app.
pub const DYNOS_MAX: u32 = 100;

/// What a type gets when it first appears.
const FIRST_SIZE: &str = "Standard-1X";

/// Types that never have dynos of the formation.
fn runs_only_on_demand(process_type: &str) -> bool {
    matches!(process_type, "release" | "console" | "rake")
}

/// A process type that always has exactly one dyno's place.
pub fn fix(tx: &Tx<'_>, app: &str, process_type: &str) -> Result<(), StateError> {
    insert(tx, app, process_type, 1)
}

fn insert(tx: &Tx<'_>, app: &str, process_type: &str, quantity: u32) -> Result<(), StateError> {
    tx.sql.execute(
        "INSERT OR IGNORE INTO formation (app, type, id, quantity, size, updated_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![app, process_type, Uuid::new_v4().to_string(), quantity, FIRST_SIZE, ms(tx.now)],
    )?;
    Ok(())
}

/// Gives each process type of a slug its place: `web` starts with one dyno, others with none.
pub fn adopt(tx: &Tx<'_>, app: &str, slug: &Slug) -> Result<(), StateError> {
    for (process_type, _) in &slug.process_types {
        if runs_only_on_demand(process_type) {
            continue;
        }
        insert(tx, app, process_type, u32::from(process_type == "web"))?;
    }
    Ok(())
}

pub fn all(tx: &Tx<'_>, app: &str) -> Result<Vec<Formation>, StateError> {
    let mut statement = tx.sql.prepare(
        "SELECT id, type, quantity, size, restarts, updated_ms FROM formation \
         WHERE app = ?1 ORDER BY type",
    )?;
    let rows = statement.query_map([app], formation_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many dynos of each size the formations of all apps have; the platform itself runs in none.
pub fn sizes(tx: &Tx<'_>) -> Result<Vec<(String, u32)>, StateError> {
    let mut statement = tx.sql.prepare(
        "SELECT size, SUM(quantity) FROM formation WHERE quantity > 0 \
             AND app NOT IN (SELECT id FROM apps WHERE system = 1) GROUP BY size",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets quantity and size of one type. Another size means other dynos.
pub fn scale(
    tx: &Tx<'_>,
    app: &str,
    process_type: &str,
    quantity: u32,
    size: &str,
) -> Result<(), StateError> {
    if of_type(tx, app, process_type)?.is_none() {
        return Err(StateError::NotFound("process type"));
    }
    let sum: u32 = tx.sql.query_row(
        "SELECT COALESCE(SUM(quantity), 0) FROM formation WHERE app = ?1 AND type <> ?2",
        [app, process_type],
        |row| row.get(0),
    )?;
    if sum.saturating_add(quantity) > DYNOS_MAX {
        return Err(StateError::Refused(format!(
            "Cannot scale to more than {DYNOS_MAX} dynos per app"
        )));
    }
    tx.sql.execute(
        "UPDATE formation SET quantity = ?3, restarts = restarts + (size <> ?4), size = ?4, \
         updated_ms = ?5 WHERE app = ?1 AND type = ?2",
        params![app, process_type, quantity, size, ms(tx.now)],
    )?;
    Ok(())
}

pub fn of_type(
    tx: &Tx<'_>,
    app: &str,
    process_type: &str,
) -> Result<Option<Formation>, StateError> {
    Ok(tx
        .sql
        .query_row(
            "SELECT id, type, quantity, size, restarts, updated_ms FROM formation \
             WHERE app = ?1 AND (type = ?2 OR id = ?2)",
            [app, process_type],
            formation_of,
        )
        .optional()?)
}

fn formation_of(row: &Row<'_>) -> rusqlite::Result<Formation> {
    Ok(Formation {
        id: row.get(0)?,
        process_type: row.get(1)?,
        quantity: row.get(2)?,
        size: row.get(3)?,
        restarts: row.get(4)?,
        updated_at: time(row.get(5)?),
    })
}
