//! The way of a release, step by step: written with the change that each step is, and kept.

use super::model::{Stage, Step};
use super::{StateError, Tx, ms};
use rusqlite::Row;
use rusqlite::types::Type;

/// Written down once, however often it is passed. `text` goes on from "Release v7".
pub(super) fn pass(tx: &Tx<'_>, release: &str, stage: Stage, text: &str) -> Result<(), StateError> {
    let sql = "SELECT steps FROM releases WHERE id = ?1";
    let mut steps = tx.sql.query_row(sql, [release], |row| read(row, 0))?;
    if steps.iter().any(|step| step.stage == stage) {
        return Ok(());
    }
    steps.push(Step { stage, at_ms: ms(tx.now), text: text.to_owned() });
    let steps = serde_json::to_string(&steps)?;
    tx.sql.execute("UPDATE releases SET steps = ?2 WHERE id = ?1", [release, &steps])?;
    Ok(())
}

pub(super) fn read(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<Step>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
    })
}
