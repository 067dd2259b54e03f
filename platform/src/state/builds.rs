//! Builds: one at a time an app, and what became of each.

use super::accounts::account_at;
use super::model::{Account, Build, BuildStatus, UsedBuildpack};
use super::secrets::random_token;
use super::slugs::json;
use super::{StateError, Tx, ms, time};
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

const BUILDS: &str = "SELECT b.id, b.app, b.status, b.source_version, b.buildpacks, b.stack, \
    b.slug, b.release, b.output_token, b.created_ms, b.updated_ms, a.id, a.email, a.created_ms \
    FROM builds b JOIN accounts a ON a.id = b.account";

/// Starts a build, unless the app has one already.
pub fn begin(
    tx: &Tx<'_>,
    app: &str,
    account: &Account,
    source_version: &str,
    stack: &str,
) -> Result<Build, StateError> {
    let running = "SELECT 1 FROM builds WHERE app = ?1 AND status = 'pending'";
    if tx.sql.query_row(running, [app], |_| Ok(())).optional()?.is_some() {
        return Err(StateError::Refused(
            "a build of this app is in progress; wait for it to end and push again".into(),
        ));
    }
    let id = Uuid::new_v4().to_string();
    tx.sql.execute(
        "INSERT INTO builds (id, app, account, status, source_version, buildpacks, stack, \
         output_token, created_ms, updated_ms) VALUES (?1,?2,?3,'pending',?4,'[]',?5,?6,?7,?7)",
        params![id, app, account.id, source_version, stack, random_token(""), ms(tx.now)],
    )?;
    by_id(tx, app, &id)
}

pub fn succeed(
    tx: &Tx<'_>,
    id: &str,
    slug: &str,
    release: &str,
    buildpacks: &[UsedBuildpack],
) -> Result<(), StateError> {
    tx.sql.execute(
        "UPDATE builds SET status = 'succeeded', slug = ?2, release = ?3, buildpacks = ?4, \
         updated_ms = ?5 WHERE id = ?1",
        params![id, slug, release, serde_json::to_string(buildpacks)?, ms(tx.now)],
    )?;
    Ok(())
}

pub fn fail(tx: &Tx<'_>, id: &str) -> Result<(), StateError> {
    tx.sql.execute(
        "UPDATE builds SET status = 'failed', updated_ms = ?2 WHERE id = ?1 AND status = 'pending'",
        params![id, ms(tx.now)],
    )?;
    Ok(())
}

/// Builds do not outlive the process that runs them: called once at start.
pub fn fail_interrupted(tx: &Tx<'_>) -> Result<usize, StateError> {
    let sql = "UPDATE builds SET status = 'failed', updated_ms = ?1 WHERE status = 'pending'";
    Ok(tx.sql.execute(sql, [ms(tx.now)])?)
}

pub fn by_id(tx: &Tx<'_>, app: &str, id: &str) -> Result<Build, StateError> {
    let sql = format!("{BUILDS} WHERE b.app = ?1 AND b.id = ?2");
    tx.sql.query_row(&sql, [app, id], build_of).map_err(StateError::missing("build"))
}

/// All builds of an app, oldest first.
pub fn all(tx: &Tx<'_>, app: &str) -> Result<Vec<Build>, StateError> {
    let sql = format!("{BUILDS} WHERE b.app = ?1 ORDER BY b.created_ms, b.id");
    let mut statement = tx.sql.prepare(&sql)?;
    let rows = statement.query_map([app], build_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn build_of(row: &Row<'_>) -> rusqlite::Result<Build> {
    Ok(Build {
        id: row.get(0)?,
        app: row.get(1)?,
        status: row.get::<_, BuildStatus>(2)?,
        source_version: row.get(3)?,
        buildpacks: json(row, 4)?,
        stack: row.get(5)?,
        slug: row.get(6)?,
        release: row.get(7)?,
        output_token: row.get(8)?,
        created_at: time(row.get(9)?),
        updated_at: time(row.get(10)?),
        account: account_at(row, 11)?,
    })
}
