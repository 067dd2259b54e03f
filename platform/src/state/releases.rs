//! Releases: slug and config under one number, and which of them serves.

use super::accounts::account_at;
use super::care::Care;
use super::model::{Account, App, Config, Phase, Release, ReleaseStatus, Slug, Stage};
use super::{StateError, Tx, apps, formation, ms, slugs, steps, system, time};
use rusqlite::{OptionalExtension, Row, params};
use std::collections::BTreeMap;
use uuid::Uuid;

const RELEASES: &str = "SELECT r.id, r.app, r.version, r.slug, r.config, r.description, r.status, \
    r.phase, r.failure, r.output, r.created_ms, r.updated_ms, r.steps, a.id, a.email, a.created_ms \
    FROM releases r JOIN accounts a ON a.id = r.account";

const STARTS: &str = "starts its dynos";
const SERVES: &str = "serves";

/// A release's name in place of a number.
const NEWEST: &str = "newest";

/// Heroku's limit on all config vars of an app together.
pub const CONFIG_BYTES_MAX: usize = 64 * 1024;

/// A release about to be made from the newest one: what changes.
#[derive(Clone, Debug)]
pub struct Change {
    pub description: String,
    /// None keeps the slug.
    pub slug: Option<Slug>,
    /// None keeps the config.
    pub config: Option<Config>,
}

/// Numbers and records the next release, all in the caller's transaction. With a slug it becomes
/// the candidate and has to boot before it serves; without one there is nothing to boot.
pub fn append(
    tx: &Tx<'_>,
    app: &App,
    account: &Account,
    change: Change,
) -> Result<Release, StateError> {
    if app.system {
        system::check(tx, app, change.slug.as_ref())?;
    }
    let head = head(tx, &app.id)?;
    let first_slug = head.as_ref().is_none_or(|release| release.slug.is_none());
    let slug = change.slug.or_else(|| head.as_ref().and_then(|release| release.slug.clone()));
    let mut config =
        change.config.or_else(|| head.map(|release| release.config)).unwrap_or_default();
    if let Some(slug) = &slug {
        if first_slug {
            for (name, value) in &slug.config_defaults {
                config.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        formation::adopt(tx, &app.id, slug)?;
    }
    check_config(&config)?;
    let boots = slug.is_some();
    let (status, phase) = match &slug {
        None => (ReleaseStatus::Succeeded, Phase::Done),
        // What comes before a version of the platform boots is its rehearsal.
        Some(slug) if slug.command("release").is_some() || app.system => {
            (ReleaseStatus::Pending, Phase::Releasing)
        }
        Some(_) => (ReleaseStatus::Pending, Phase::Booting),
    };
    let version = next_version(tx, &app.id)?;
    let id = Uuid::new_v4().to_string();
    tx.sql.execute(
        "INSERT INTO releases (id, app, version, slug, config, description, status, phase, \
         account, created_ms, updated_ms) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?10)",
        params![
            id,
            app.id,
            version,
            slug.map(|slug| slug.id),
            tx.secrets.seal(&app.id, &serde_json::to_vec(&config)?),
            change.description,
            status,
            phase,
            account.id,
            ms(tx.now)
        ],
    )?;
    if boots {
        supersede(tx, &app.id)?;
        apps::set_candidate(tx, &app.id, Some(version))?;
    } else {
        apps::set_current(tx, &app.id, version)?;
    }
    let (stage, text) = match phase {
        Phase::Releasing if app.system => (Stage::Releasing, "is rehearsed"),
        Phase::Releasing => (Stage::Releasing, "runs its release command"),
        Phase::Booting => (Stage::Booting, STARTS),
        Phase::Done => (Stage::Serving, SERVES),
    };
    steps::pass(tx, &id, stage, text)?;
    by_identity(tx, &app.id, &id)
}

fn check_config(config: &Config) -> Result<(), StateError> {
    let bytes: usize = config.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > CONFIG_BYTES_MAX {
        return Err(StateError::Refused(format!(
            "Config vars are {bytes} bytes together, the limit is {CONFIG_BYTES_MAX}"
        )));
    }
    Care::of(config).map(drop)
}

/// Whatever was still pending has been overtaken.
fn supersede(tx: &Tx<'_>, app: &str) -> Result<(), StateError> {
    let sql = "UPDATE releases SET status = 'expired', phase = 'done', updated_ms = ?2, \
        failure = 'a newer release came before this one had booted' \
        WHERE app = ?1 AND status = 'pending' \
        AND version = (SELECT candidate FROM apps WHERE id = ?1) RETURNING id";
    let row = tx.sql.query_row(sql, params![app, ms(tx.now)], |row| row.get::<_, String>(0));
    match row.optional()? {
        Some(id) => steps::pass(tx, &id, Stage::Expired, "was overtaken by a newer one"),
        None => Ok(()),
    }
}

/// The release phase has passed: its dynos may start.
pub fn start_booting(tx: &Tx<'_>, release: &str) -> Result<(), StateError> {
    let started = tx.sql.execute(
        "UPDATE releases SET phase = 'booting', updated_ms = ?2 WHERE id = ?1 AND status = 'pending'",
        params![release, ms(tx.now)],
    )?;
    if started == 1 {
        steps::pass(tx, release, Stage::Booting, STARTS)?;
    }
    Ok(())
}

/// The candidate serves a share of the requests, and is watched.
pub fn begin_probation(tx: &Tx<'_>, app: &str, version: u32, text: &str) -> Result<(), StateError> {
    let release = by_version(tx, app, version)?;
    if release.status == ReleaseStatus::Pending {
        steps::pass(tx, &release.id, Stage::Probation, text)?;
    }
    Ok(())
}

pub fn set_output(tx: &Tx<'_>, release: &str, output: &str) -> Result<(), StateError> {
    tx.sql.execute("UPDATE releases SET output = ?2 WHERE id = ?1", [release, output])?;
    Ok(())
}

/// The candidate has booted and serves from now on. Does nothing when it is no longer the candidate.
pub fn promote(tx: &Tx<'_>, app: &str, version: u32) -> Result<(), StateError> {
    if end(tx, app, version, ReleaseStatus::Succeeded, None)? {
        apps::set_current(tx, app, version)?;
    }
    Ok(())
}

/// The candidate will not serve; whatever served before goes on.
pub fn fail(tx: &Tx<'_>, app: &str, version: u32, reason: &str) -> Result<(), StateError> {
    end(tx, app, version, ReleaseStatus::Failed, Some(reason))?;
    Ok(())
}

fn end(
    tx: &Tx<'_>,
    app: &str,
    version: u32,
    status: ReleaseStatus,
    failure: Option<&str>,
) -> Result<bool, StateError> {
    let ended = tx.sql.query_row(
        "UPDATE releases SET status = ?3, phase = 'done', failure = ?4, updated_ms = ?5 \
         WHERE app = ?1 AND version = ?2 AND status = 'pending' RETURNING id",
        params![app, version, status, failure, ms(tx.now)],
        |row| row.get::<_, String>(0),
    );
    let Some(id) = ended.optional()? else { return Ok(false) };
    match failure.and_then(|reason| reason.lines().next()) {
        Some(reason) => steps::pass(tx, &id, Stage::Failed, &format!("failed: {reason}"))?,
        None => steps::pass(tx, &id, Stage::Serving, SERVES)?,
    }
    apps::set_candidate(tx, app, None)?;
    Ok(true)
}

/// What another release may build on: neither what failed, nor what was overtaken with a slug that no
/// release has served: the one that has overtaken it with that slug may have failed.
const BASE: &str = "r.status <> 'failed' AND NOT (r.status = 'expired' AND r.slug IS NOT NULL AND \
    NOT EXISTS (SELECT 1 FROM releases s WHERE s.app = r.app AND s.slug = r.slug \
    AND s.status = 'succeeded'))";

/// What the next release builds on: the newest that may be one, with the config of the newest that did
/// not fail. A var that was set for a slug that was refused stays set.
pub fn head(tx: &Tx<'_>, app: &str) -> Result<Option<Release>, StateError> {
    let newest = |which: &str| {
        let sql =
            format!("{RELEASES} WHERE r.app = ?1 AND {which} ORDER BY r.version DESC LIMIT 1");
        let row = tx.sql.query_row(&sql, [app], raw).optional()?;
        row.map(|raw| complete(tx, raw)).transpose()
    };
    let (base, latest) = (newest(BASE)?, newest("r.status <> 'failed'")?);
    Ok(base.map(|base| match latest {
        Some(Release { config, .. }) => Release { config, ..base },
        None => base,
    }))
}

/// By id or version number (`7`; a leading `v` is accepted), or the `newest`.
pub fn by_identity(tx: &Tx<'_>, app: &str, identity: &str) -> Result<Release, StateError> {
    let version: Option<u32> = match identity {
        NEWEST => Some(next_version(tx, app)?.saturating_sub(1)),
        _ => identity.strip_prefix('v').unwrap_or(identity).parse().ok(),
    };
    let sql = format!("{RELEASES} WHERE r.app = ?1 AND (r.id = ?2 OR r.version = ?3)");
    let row = tx
        .sql
        .query_row(&sql, params![app, identity, version], raw)
        .map_err(StateError::missing("release"))?;
    complete(tx, row)
}

pub fn by_version(tx: &Tx<'_>, app: &str, version: u32) -> Result<Release, StateError> {
    by_identity(tx, app, &version.to_string())
}

/// The config that the build of a slug was given: that of the release before the slug's first.
pub fn config_of_build(tx: &Tx<'_>, app: &str, slug: &str) -> Result<Config, StateError> {
    let sql = format!(
        "{RELEASES} WHERE r.app = ?1 AND r.status <> 'failed' AND r.version < \
         (SELECT MIN(version) FROM releases WHERE app = ?1 AND slug = ?2) \
         ORDER BY r.version DESC LIMIT 1"
    );
    let before = tx.sql.query_row(&sql, [app, slug], raw).optional()?;
    let before = before.map(|raw| complete(tx, raw)).transpose()?;
    Ok(before.map(|release| release.config).unwrap_or_default())
}

/// All releases, oldest first.
pub fn all(tx: &Tx<'_>, app: &str) -> Result<Vec<Release>, StateError> {
    let sql = format!("{RELEASES} WHERE r.app = ?1 ORDER BY r.version");
    let mut statement = tx.sql.prepare(&sql)?;
    let rows = statement.query_map([app], raw)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(|row| complete(tx, row)).collect()
}

/// The ids of all releases, by version: what it takes to name one, without opening any config.
pub fn ids(tx: &Tx<'_>, app: &str) -> Result<BTreeMap<u32, String>, StateError> {
    let mut statement = tx.sql.prepare("SELECT version, id FROM releases WHERE app = ?1")?;
    let rows = statement.query_map([app], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn next_version(tx: &Tx<'_>, app: &str) -> Result<u32, StateError> {
    let sql = "SELECT COALESCE(MAX(version), 0) + 1 FROM releases WHERE app = ?1";
    Ok(tx.sql.query_row(sql, [app], |row| row.get(0))?)
}

/// A row before its slug is looked up and its config opened.
type Raw = (Release, Option<String>, Vec<u8>);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let release = Release {
        id: row.get(0)?,
        app: row.get(1)?,
        version: row.get(2)?,
        slug: None,
        config: Config::new(),
        description: row.get(5)?,
        status: row.get(6)?,
        phase: row.get(7)?,
        failure: row.get(8)?,
        output: row.get(9)?,
        created_at: time(row.get(10)?),
        updated_at: time(row.get(11)?),
        steps: steps::read(row, 12)?,
        account: account_at(row, 13)?,
    };
    Ok((release, row.get(3)?, row.get(4)?))
}

fn complete(tx: &Tx<'_>, (mut release, slug, config): Raw) -> Result<Release, StateError> {
    release.slug = slug.map(|id| slugs::by_id(tx, &release.app, &id)).transpose()?;
    release.config = serde_json::from_slice(&tx.secrets.open_sealed(&release.app, &config)?)?;
    Ok(release)
}
