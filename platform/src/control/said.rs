//! What a dyno of a release printed, read back from the app's log.

use crate::services::Services;
use crate::state::model::Release;
use lathe_logs::{AppId, Filter, Source};

/// The newest lines of `dyno`, oldest first, at most `max`, and none from before the release: an
/// earlier one may have had a dyno of the same name.
pub(super) async fn by(
    services: &Services,
    release: &Release,
    dyno: &str,
    max: usize,
) -> Vec<String> {
    let filter = Filter {
        source: Some(Source::App),
        process: Some(dyno.to_owned()),
        lines: max,
        after: None,
    };
    let mut lines = Vec::new();
    // What it printed last may only just have been handed over.
    services.hub.settled().await;
    if let Ok(mut tail) = services.hub.tail(&AppId::new(&release.app), filter, false) {
        while let Some(entry) = tail.next().await {
            if entry.line.time >= release.created_at {
                lines.push(String::from_utf8_lossy(&entry.line.text).into_owned());
            }
        }
    }
    lines
}
