//! Restarts: how often each dyno was marked for replacement.

use super::{StateError, Tx, apps};
use rusqlite::params;
use std::collections::BTreeMap;

/// Which dynos are to be replaced.
#[derive(Clone, Copy, Debug)]
pub enum Restart<'a> {
    All,
    Type(&'a str),
    /// Of each release that runs: whoever names a dyno names no release.
    Dyno(&'a str),
    /// Of the release that serves only, so that the next one's probation goes on.
    OfRelease(u32, &'a str),
}

/// How often each dyno of an app was restarted, beside what its whole type was.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct DynoRestarts(BTreeMap<String, u32>);

impl DynoRestarts {
    pub fn of(&self, version: u32, dyno: &str) -> u32 {
        let count = |key: &str| self.0.get(key).copied().unwrap_or(0);
        count(dyno) + count(&of_release(version, dyno))
    }
}

/// No dyno's name has a slash.
fn of_release(version: u32, dyno: &str) -> String {
    format!("v{version}/{dyno}")
}

/// Marks dynos for replacement.
pub fn restart(tx: &Tx<'_>, app: &str, which: Restart<'_>) -> Result<(), StateError> {
    let by_type = "UPDATE formation SET restarts = restarts + 1 WHERE app = ?1";
    match which {
        Restart::All => drop(tx.sql.execute(by_type, [app])?),
        Restart::Type(name) => {
            tx.sql.execute(&format!("{by_type} AND type = ?2"), [app, name])?;
        }
        Restart::Dyno(name) => count(tx, app, name)?,
        Restart::OfRelease(version, name) => {
            // Whatever served before it never serves again: going back makes another release.
            tx.sql.execute(
                "DELETE FROM restarts \
                 WHERE app = ?1 AND dyno GLOB 'v*/*' AND dyno NOT GLOB ?2",
                [app, &of_release(version, "*")],
            )?;
            // With no other release beside it the name is enough: what an earlier version of the
            // platform does not count would be one more restart when it comes back.
            let is_alone = apps::by_id(tx, app)?.candidate.is_none();
            let key = if is_alone { name.to_owned() } else { of_release(version, name) };
            count(tx, app, &key)?;
        }
    }
    Ok(())
}

fn count(tx: &Tx<'_>, app: &str, key: &str) -> Result<(), StateError> {
    tx.sql.execute(
        "INSERT INTO restarts VALUES (?1, ?2, 1) \
         ON CONFLICT (app, dyno) DO UPDATE SET count = count + 1",
        params![app, key],
    )?;
    Ok(())
}

pub fn of_app(tx: &Tx<'_>, app: &str) -> Result<DynoRestarts, StateError> {
    let mut statement = tx.sql.prepare("SELECT dyno, count FROM restarts WHERE app = ?1")?;
    let rows = statement.query_map([app], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(DynoRestarts(rows.collect::<Result<_, _>>()?))
}
