//! Log drains of apps. Their URLs may hold credentials, so they are stored sealed.

use super::model::Drain;
use super::{StateError, Tx, ms, time};
use rusqlite::{Row, params};
use uuid::Uuid;

/// Heroku's limit for an app (Heroku Dev Center, Log Drains).
const DRAINS_MAX: usize = 5;

pub fn add(tx: &Tx<'_>, app: &str, url: &str) -> Result<Drain, StateError> {
    let existing = of_app(tx, app)?;
    if existing.len() >= DRAINS_MAX {
        return Err(StateError::Refused(format!("You can only add {DRAINS_MAX} drains per app")));
    }
    if existing.iter().any(|drain| drain.url == url) {
        return Err(StateError::Refused("Url has already been taken".into()));
    }
    let drain = Drain {
        id: Uuid::new_v4().to_string(),
        app: app.to_owned(),
        url: url.to_owned(),
        token: format!("d.{}", Uuid::new_v4()),
        created_at: tx.now,
    };
    tx.sql.execute(
        "INSERT INTO drains VALUES (?1, ?2, ?3, ?4, ?5)",
        params![drain.id, app, tx.secrets.seal(app, url.as_bytes()), drain.token, ms(tx.now)],
    )?;
    Ok(drain)
}

/// By id, URL or token.
pub fn remove(tx: &Tx<'_>, app: &str, identity: &str) -> Result<Drain, StateError> {
    let drain = of_app(tx, app)?
        .into_iter()
        .find(|drain| [&drain.id, &drain.url, &drain.token].iter().any(|known| *known == identity))
        .ok_or(StateError::NotFound("log drain"))?;
    tx.sql.execute("DELETE FROM drains WHERE id = ?1", [&drain.id])?;
    Ok(drain)
}

pub fn of_app(tx: &Tx<'_>, app: &str) -> Result<Vec<Drain>, StateError> {
    Ok(all(tx)?.into_iter().filter(|drain| drain.app == app).collect())
}

pub fn all(tx: &Tx<'_>) -> Result<Vec<Drain>, StateError> {
    let sql = "SELECT id, app, url, token, created_ms FROM drains ORDER BY created_ms, id";
    let mut statement = tx.sql.prepare(sql)?;
    let rows = statement.query_map([], sealed)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter()
        .map(|(mut drain, url)| {
            let url = tx.secrets.open_sealed(&drain.app, &url)?;
            drain.url = String::from_utf8_lossy(&url).into_owned();
            Ok(drain)
        })
        .collect()
}

fn sealed(row: &Row<'_>) -> rusqlite::Result<(Drain, Vec<u8>)> {
    let drain = Drain {
        id: row.get(0)?,
        app: row.get(1)?,
        url: String::new(),
        token: row.get(3)?,
        created_at: time(row.get(4)?),
    };
    Ok((drain, row.get(2)?))
}
