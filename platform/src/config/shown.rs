//! How the value of a setting becomes the text that sets it again.

use lathe_logs::drain::Network;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) fn networks_shown(networks: &[Network]) -> String {
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

pub(super) fn text(value: &impl ToString) -> String {
    value.to_string()
}

pub(super) fn path(path: &Path) -> String {
    path.display().to_string()
}

#[expect(clippy::ref_option, reason = "the table passes a reference to the field")]
pub(super) fn maybe_path(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or_else(|| "none".into(), |path| path.display().to_string())
}

#[expect(clippy::ref_option, reason = "the table passes a reference to the field")]
pub(super) fn maybe(value: &Option<String>) -> String {
    value.clone().unwrap_or_else(|| "none".into())
}

pub(super) fn joined(items: &[String]) -> String {
    items.join(",")
}

pub(super) fn seconds(duration: &Duration) -> String {
    duration.as_secs().to_string()
}
