//! Asks `bin/report` of each buildpack what it did: facts about a build, whether it went well or not.

use crate::buildpack::Buildpack;
use crate::program::Ending;
use crate::release::{Pairs, from_yaml};
use crate::site::{Folders, Site};
use std::collections::BTreeMap;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);
const BYTES_MAX: usize = 64 << 10;

/// What the buildpack says, JSON or YAML. A report is never a reason to fail a build, so whatever
/// goes wrong here is an empty report.
pub(crate) fn report(site: &Site<'_>, pack: &Buildpack) -> BTreeMap<String, String> {
    let Some(path) = pack.program("report") else { return BTreeMap::new() };
    let program = site.program(pack, &path, Folders::BuildCacheEnv);
    match site.ask(&program, TIMEOUT, BYTES_MAX) {
        Ok(seen) if seen.ending == Ending::Exited(0) && !seen.cut => {
            let text = String::from_utf8_lossy(&seen.stdout);
            from_yaml::<Pairs>(&text).map(|pairs| pairs.0.into_iter().collect()).unwrap_or_default()
        }
        _ => BTreeMap::new(),
    }
}
