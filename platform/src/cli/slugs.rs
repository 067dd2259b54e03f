//! `lathe slugs`: what the store keeps, and why.

use super::say::say;
use super::up::UpVerbError;
use super::{CliError, runtime};
use crate::config::Config;
use crate::roles::UpError;
use crate::state::Store;
use crate::state::slugs::{self, Holder};
use jiff::Timestamp;
use lathe_slug::SlugId;
use std::collections::BTreeMap;

pub(super) fn list(config: &Config) -> Result<(), CliError> {
    if !config.data.join("state.db").exists() {
        say!("No slugs yet: no platform has run on {}.", config.data.display());
        return Ok(());
    }
    let kept = lathe_slug::Store::attach(config.slugs_dir()).list().map_err(UpError::Slugs);
    let kept = kept.map_err(UpVerbError::Up)?;
    let store = Store::attach(&config.data).map_err(UpError::from).map_err(UpVerbError::Up)?;
    let holders = runtime()?.block_on(store.read(slugs::holders));
    let holders = holders.map_err(UpError::from).map_err(UpVerbError::Up)?;

    let mut held: BTreeMap<SlugId, Vec<String>> = BTreeMap::new();
    for holder in &holders {
        held.entry(holder.digest).or_default().push(reason(holder));
    }
    for slug in &kept {
        let id = slug.manifest.id;
        let since = Timestamp::try_from(slug.stored_at)
            .map_or_else(|_| "?".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M").to_string());
        let why = held.get(&id).map_or_else(
            || "nothing holds it: removed an hour after it came".to_owned(),
            |reasons| reasons.join(", "),
        );
        say!("{id}  {:>8.1} MB  {since}  {why}", megabytes(slug.manifest.bytes));
    }
    let bytes = kept.iter().map(|slug| slug.manifest.bytes).sum();
    say!("{} slugs, {:.1} MB", kept.len(), megabytes(bytes));
    Ok(())
}

fn reason(holder: &Holder) -> String {
    match holder.version {
        Some(version) if holder.serves => format!("{} v{version} (runs)", holder.app),
        Some(version) => format!("{} v{version}", holder.app),
        None => format!("{} (not released yet)", holder.app),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size for people, to a tenth")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1_000_000.0
}
