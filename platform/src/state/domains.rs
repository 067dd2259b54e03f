//! Custom host names of apps.

use super::model::Domain;
use super::{StateError, Tx, ms, time};
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

const DOMAINS: &str = "SELECT id, app, hostname, certificate, created_ms, updated_ms FROM domains";

/// Heroku's limit for an app (Heroku Dev Center, Limits).
const DOMAINS_MAX: usize = 1000;

/// Claims a host name for an app; one name belongs to one app.
pub fn add(tx: &Tx<'_>, app: &str, hostname: &str) -> Result<Domain, StateError> {
    let hostname = hostname.to_ascii_lowercase();
    if !is_valid_hostname(&hostname) {
        return Err(StateError::Refused(format!("{hostname} is not a valid domain name")));
    }
    if of_app(tx, app)?.len() >= DOMAINS_MAX {
        return Err(StateError::Refused(format!("An app has {DOMAINS_MAX} domains at most")));
    }
    let taken =
        tx.sql.query_row("SELECT 1 FROM domains WHERE hostname = ?1", [&hostname], |_| Ok(()));
    if taken.optional()?.is_some() {
        return Err(StateError::Refused(format!("{hostname} is currently in use by another app")));
    }
    let id = Uuid::new_v4().to_string();
    tx.sql.execute(
        "INSERT INTO domains (id, app, hostname, created_ms, updated_ms) VALUES (?1, ?2, ?3, ?4, ?4)",
        params![id, app, hostname, ms(tx.now)],
    )?;
    by_identity(tx, app, &id)
}

/// Labels of letters, digits and dashes, at least two of them, 253 bytes in all.
pub fn is_valid_hostname(hostname: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    hostname.len() <= 253 && hostname.contains('.') && hostname.split('.').all(label)
}

pub fn remove(tx: &Tx<'_>, app: &str, identity: &str) -> Result<Domain, StateError> {
    let domain = by_identity(tx, app, identity)?;
    tx.sql.execute("DELETE FROM domains WHERE id = ?1", [&domain.id])?;
    Ok(domain)
}

/// Which certificate it is served with, by that one's id; none: whichever fits.
pub fn choose(
    tx: &Tx<'_>,
    app: &str,
    identity: &str,
    certificate: Option<&str>,
) -> Result<Domain, StateError> {
    let domain = by_identity(tx, app, identity)?;
    tx.sql.execute(
        "UPDATE domains SET certificate = ?1, updated_ms = ?2 WHERE id = ?3",
        params![certificate, ms(tx.now), domain.id],
    )?;
    by_identity(tx, app, &domain.id)
}

/// By id or host name.
pub fn by_identity(tx: &Tx<'_>, app: &str, identity: &str) -> Result<Domain, StateError> {
    let sql = format!("{DOMAINS} WHERE app = ?1 AND (id = ?2 OR hostname = ?2)");
    tx.sql.query_row(&sql, [app, identity], domain_of).map_err(StateError::missing("domain"))
}

pub fn of_app(tx: &Tx<'_>, app: &str) -> Result<Vec<Domain>, StateError> {
    let mut statement = tx.sql.prepare(&format!("{DOMAINS} WHERE app = ?1 ORDER BY hostname"))?;
    let rows = statement.query_map([app], domain_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn domain_of(row: &Row<'_>) -> rusqlite::Result<Domain> {
    Ok(Domain {
        id: row.get(0)?,
        app: row.get(1)?,
        hostname: row.get(2)?,
        certificate: row.get(3)?,
        created_at: time(row.get(4)?),
        updated_at: time(row.get(5)?),
    })
}
