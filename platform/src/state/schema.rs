//! The tables, and how a file gets to the newest form of them: forward only, one transaction each.

use super::StateError;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Step n brings a file from version n to n + 1. Steps are never edited once released.
const MIGRATIONS: [&str; 2] = [V1, V2];

const V1: &str = "
CREATE TABLE accounts (
    id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL);
CREATE TABLE tokens (
    id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts, hash BLOB NOT NULL UNIQUE,
    description TEXT NOT NULL, created_ms INTEGER NOT NULL, expires_ms INTEGER);
CREATE TABLE apps (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL REFERENCES accounts,
    uid INTEGER NOT NULL UNIQUE, maintenance INTEGER NOT NULL DEFAULT 0,
    current INTEGER, candidate INTEGER,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL);
CREATE TABLE uids (next INTEGER NOT NULL);
INSERT INTO uids VALUES (200000);
CREATE TABLE collaborators (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    account TEXT NOT NULL REFERENCES accounts, created_ms INTEGER NOT NULL, UNIQUE (app, account));
CREATE TABLE slugs (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    digest TEXT, diff_id TEXT, bytes INTEGER, commit_id TEXT, stack TEXT NOT NULL,
    process_types TEXT NOT NULL, buildpacks TEXT NOT NULL, config_defaults TEXT NOT NULL,
    upload_token TEXT, created_ms INTEGER NOT NULL);
CREATE TABLE releases (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    version INTEGER NOT NULL, slug TEXT REFERENCES slugs, config BLOB NOT NULL,
    description TEXT NOT NULL, status TEXT NOT NULL, failure TEXT, phase TEXT NOT NULL,
    account TEXT NOT NULL REFERENCES accounts, output TEXT,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, UNIQUE (app, version));
CREATE TABLE formation (
    app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, type TEXT NOT NULL,
    id TEXT NOT NULL, quantity INTEGER NOT NULL, size TEXT NOT NULL,
    restarts INTEGER NOT NULL DEFAULT 0, updated_ms INTEGER NOT NULL, PRIMARY KEY (app, type));
CREATE TABLE restarts (
    app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, dyno TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (app, dyno));
CREATE TABLE builds (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    account TEXT NOT NULL REFERENCES accounts, status TEXT NOT NULL, source_version TEXT NOT NULL,
    buildpacks TEXT NOT NULL, stack TEXT NOT NULL, slug TEXT, release TEXT, output_token TEXT NOT NULL,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL);
CREATE TABLE oneoffs (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, name TEXT NOT NULL,
    type TEXT NOT NULL, command TEXT NOT NULL, size TEXT NOT NULL, release INTEGER NOT NULL,
    attached INTEGER NOT NULL, state TEXT NOT NULL, status INTEGER, account TEXT NOT NULL,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, UNIQUE (app, name));
CREATE TABLE domains (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    hostname TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL);
CREATE TABLE drains (
    id TEXT PRIMARY KEY, app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE,
    url BLOB NOT NULL, token TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL);
CREATE TABLE buildpacks (
    app TEXT NOT NULL REFERENCES apps ON DELETE CASCADE, ordinal INTEGER NOT NULL,
    url TEXT NOT NULL, PRIMARY KEY (app, ordinal));
CREATE TABLE sources (
    id TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, app TEXT REFERENCES apps ON DELETE CASCADE,
    created_ms INTEGER NOT NULL);
";

/// What a slug was made from.
const V2: &str = "ALTER TABLE slugs ADD COLUMN inputs TEXT;";

pub(super) fn open(path: &Path) -> Result<Connection, StateError> {
    let failed = |source| StateError::Open { path: path.to_owned(), source };
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    )
    .map_err(failed)?;
    let detail: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .unwrap_or_else(|error| error.to_string());
    if detail != "ok" {
        return Err(StateError::Damaged { path: path.to_owned(), detail });
    }
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;",
        )
        .map_err(failed)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(StateError::Newer { path: path.to_owned(), found, known });
    }
    for (version, step) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        let tx = connection.transaction()?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", version)?;
        tx.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_damaged_or_newer_and_leaves_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        drop(open(&path).unwrap());
        open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(open(&path), Err(StateError::Newer { found: 99, .. })));

        let path = dir.path().join("damaged.db");
        std::fs::write(&path, b"not a database at all, and longer than a header ".repeat(40))
            .unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(open(&path), Err(StateError::Damaged { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
