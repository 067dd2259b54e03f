//! Slugs as the platform knows them: what is in them and which blob they are.

use super::model::{Config, Inputs, Slug, UsedBuildpack};
use super::{StateError, Tx, ms, time};
use lathe_slug::{DiffId, SlugId};
use rusqlite::{Row, params};
use std::collections::BTreeSet;
use std::str::FromStr;
use uuid::Uuid;

/// A slug about to be recorded. `digest` is none for one whose blob is still to be uploaded.
#[derive(Clone, Debug)]
pub struct NewSlug {
    pub digest: Option<SlugId>,
    pub diff_id: Option<DiffId>,
    pub bytes: u64,
    pub commit: Option<String>,
    pub stack: String,
    pub process_types: Vec<(String, String)>,
    pub buildpacks: Vec<UsedBuildpack>,
    pub config_defaults: Config,
    pub inputs: Option<Inputs>,
}

const COLUMNS: &str = "id, app, digest, diff_id, bytes, commit_id, stack, process_types, \
    buildpacks, config_defaults, created_ms, inputs";

pub fn insert(tx: &Tx<'_>, app: &str, new: &NewSlug) -> Result<Slug, StateError> {
    let id = Uuid::new_v4().to_string();
    tx.sql.execute(
        "INSERT INTO slugs (id, app, digest, diff_id, bytes, commit_id, stack, process_types, \
         buildpacks, config_defaults, created_ms, inputs) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        params![
            id,
            app,
            new.digest.map(|d| d.to_string()),
            new.diff_id.map(|d| d.to_string()),
            i64::try_from(new.bytes).unwrap_or(i64::MAX),
            new.commit,
            new.stack,
            serde_json::to_string(&new.process_types)?,
            serde_json::to_string(&new.buildpacks)?,
            serde_json::to_string(&new.config_defaults)?,
            ms(tx.now),
            new.inputs.as_ref().map(serde_json::to_string).transpose()?,
        ],
    )?;
    by_id(tx, app, &id)
}

/// The blob of an API-made slug has arrived. It never changes again: releases may name it.
pub fn set_blob(
    tx: &Tx<'_>,
    app: &str,
    id: &str,
    digest: SlugId,
    diff_id: DiffId,
    bytes: u64,
) -> Result<(), StateError> {
    let set = tx.sql.execute(
        "UPDATE slugs SET digest = ?1, diff_id = ?2, bytes = ?3 \
         WHERE app = ?4 AND id = ?5 AND digest IS NULL",
        params![
            digest.to_string(),
            diff_id.to_string(),
            i64::try_from(bytes).unwrap_or(i64::MAX),
            app,
            id
        ],
    )?;
    match set {
        0 => Err(StateError::Refused("This slug's blob has been uploaded already".into())),
        _ => Ok(()),
    }
}

/// Forgets slugs made before `before_ms` that no release names: their blobs are collected as well.
pub fn collect(tx: &Tx<'_>, before_ms: i64) -> Result<usize, StateError> {
    let sql = "DELETE FROM slugs WHERE created_ms < ?1 \
        AND id NOT IN (SELECT slug FROM releases WHERE slug IS NOT NULL)";
    Ok(tx.sql.execute(sql, [before_ms])?)
}

pub fn by_id(tx: &Tx<'_>, app: &str, id: &str) -> Result<Slug, StateError> {
    let sql = format!("SELECT {COLUMNS} FROM slugs WHERE app = ?1 AND id = ?2");
    tx.sql.query_row(&sql, [app, id], slug_of).map_err(StateError::missing("slug"))
}

/// The slugs of an app that have their blob, newest first.
pub fn whole(tx: &Tx<'_>, app: &str) -> Result<Vec<Slug>, StateError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM slugs WHERE app = ?1 AND digest IS NOT NULL \
         ORDER BY created_ms DESC"
    );
    let mut statement = tx.sql.prepare(&sql)?;
    let rows = statement.query_map([app], slug_of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Every blob that some release needs or may be about to need.
pub fn digests_in_use(tx: &Tx<'_>) -> Result<BTreeSet<SlugId>, StateError> {
    let sql = "SELECT DISTINCT digest FROM slugs WHERE digest IS NOT NULL";
    let mut statement = tx.sql.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let digests: Vec<String> = rows.collect::<Result<_, _>>()?;
    Ok(digests.iter().filter_map(|text| text.parse().ok()).collect())
}

/// Who needs a blob, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub digest: SlugId,
    pub app: String,
    /// Of a release; none while there is only the slug.
    pub version: Option<u64>,
    /// The release whose dynos run, or which is about to take over from it.
    pub serves: bool,
}

/// Every reason to keep a blob: each release of each app, and slugs that wait for theirs.
pub fn holders(tx: &Tx<'_>) -> Result<Vec<Holder>, StateError> {
    let sql = "SELECT s.digest, a.name, r.version, r.version IN (a.current, a.candidate) \
        FROM slugs s JOIN apps a ON a.id = s.app LEFT JOIN releases r ON r.slug = s.id \
        WHERE s.digest IS NOT NULL ORDER BY a.name, r.version";
    let mut statement = tx.sql.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let Some(digest) = digest(row, 0)? else { return Ok(None) };
        let version = row.get::<_, Option<i64>>(2)?.and_then(|version| version.try_into().ok());
        let serves = row.get::<_, Option<bool>>(3)?.unwrap_or(false);
        Ok(Some(Holder { digest, app: row.get(1)?, version, serves }))
    })?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn slug_of(row: &Row<'_>) -> rusqlite::Result<Slug> {
    Ok(Slug {
        id: row.get(0)?,
        app: row.get(1)?,
        digest: digest(row, 2)?,
        diff_id: digest(row, 3)?,
        bytes: row.get::<_, Option<i64>>(4)?.and_then(|n| n.try_into().ok()).unwrap_or(0),
        commit: row.get(5)?,
        stack: row.get(6)?,
        process_types: json(row, 7)?,
        buildpacks: json(row, 8)?,
        config_defaults: json(row, 9)?,
        created_at: time(row.get(10)?),
        inputs: match row.get_ref(11)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(json(row, 11)?),
        },
    })
}

fn digest<T: FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<T>> {
    Ok(row.get::<_, Option<String>>(at)?.and_then(|text| text.parse().ok()))
}

/// A JSON text column.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    at: usize,
) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(at)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(error))
    })
}
