//! Statements inside a transaction: the text of each is compiled once and kept.

use rusqlite::{CachedStatement, Connection, Params, Row};

/// More than there are texts of statements.
pub(super) const KEPT_MAX: usize = 256;

#[derive(Clone, Copy, Debug)]
pub struct Statements<'a>(pub(super) &'a Connection);

impl<'a> Statements<'a> {
    /// How many rows it has changed.
    pub fn execute(&self, sql: &str, parameters: impl Params) -> rusqlite::Result<usize> {
        self.0.prepare_cached(sql)?.execute(parameters)
    }

    /// The first row there is.
    pub fn query_row<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.0.prepare_cached(sql)?.query_row(parameters, read)
    }

    pub fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'a>> {
        self.0.prepare_cached(sql)
    }
}
