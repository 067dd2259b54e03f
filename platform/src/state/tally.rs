//! How many rows each table of a state file has, by which a migration that loses some is found out.

use super::{StateError, schema};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tally(BTreeMap<String, i64>);

impl Tally {
    /// Of a file that nobody writes to; whatever its schema is.
    pub fn of(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Open { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(schema::BUSY_TIMEOUT).map_err(failed)?;
        let sql =
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let mut statement = connection.prepare(sql)?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        let count = |name: String| {
            let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
            let count = connection.query_row(&sql, [], |row| row.get(0))?;
            Ok((name, count))
        };
        Ok(Self(names.map(|name| count(name?)).collect::<Result<_, rusqlite::Error>>()?))
    }

    /// What there was and is no more, for people.
    pub fn lost(&self, after: &Self) -> Vec<String> {
        let lost = |(name, count): (&String, &i64)| match after.0.get(name) {
            None => Some(format!("the table {name} is gone")),
            Some(left) if left < count => Some(format!("{name} has {left} of {count} rows")),
            Some(_) => None,
        };
        self.0.iter().filter_map(lost).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_tables_that_are_gone_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let connection = Connection::open(&path).unwrap();
        let run = |sql: &str| connection.execute_batch(sql).unwrap();
        run("CREATE TABLE a (x); CREATE TABLE \"b \"\"c\" (x); CREATE TABLE d (x);");
        run("INSERT INTO a VALUES (1), (2), (3); INSERT INTO d VALUES (1)");
        let before = Tally::of(&path).unwrap();
        run("CREATE TABLE e (x); INSERT INTO d VALUES (2)");
        assert_eq!(before.lost(&Tally::of(&path).unwrap()), Vec::<String>::new());
        run("DELETE FROM a WHERE x > 1; DROP TABLE \"b \"\"c\"");
        let lost = before.lost(&Tally::of(&path).unwrap());
        assert_eq!(lost, ["a has 1 of 3 rows", "the table b \"c is gone"]);
    }
}
