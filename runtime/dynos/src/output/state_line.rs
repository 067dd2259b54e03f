//! What the platform says about a dyno in the app's log: Heroku's words to the letter.
//! Source: Heroku Dev Center, "Heroku Error Codes" and "Logging".

use crate::checks::Finding;
use crate::class::Class;
use lathe_slug::SlugId;
use std::time::Duration;

pub(crate) fn state_changed(from: &str, to: &str) -> String {
    format!("State changed from {from} to {to}")
}

pub(crate) fn starting(command: &str) -> String {
    format!("Starting process with command `{command}`")
}

pub(crate) fn exited(status: u8) -> String {
    format!("Process exited with status {status}")
}

pub(crate) const SIGTERM: &str = "Stopping all processes with SIGTERM";
pub(crate) const SIGKILL: &str = "Stopping process with SIGKILL";
pub(crate) const SIGHUP: &str = "Client connection closed. Sending SIGHUP to all processes";
pub(crate) const AWAITING_CLIENT: &str = "Awaiting client";
pub(crate) const R13: &str = "Error R13 (Attach error) -> Failed to attach to process";
pub(crate) const R14: &str = "Error R14 (Memory quota exceeded)";
pub(crate) const R15: &str = "Error R15 (Memory quota vastly exceeded)";
pub(crate) const R16: &str = "Error R16 (Detached) -> An attached process is not responding to SIGHUP \
                       after its external connection was closed.";

pub(crate) fn r10(boot_timeout: Duration) -> String {
    format!(
        "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within {} seconds of launch",
        boot_timeout.as_secs()
    )
}

/// What R10 leaves open: which ports the process opened instead. Ours, not Heroku's.
pub(crate) fn listened_instead(port: u16, ports: &[u16]) -> Option<String> {
    if ports.is_empty() {
        return None;
    }
    if ports.contains(&port) {
        return Some(format!(
            "The process listens on $PORT ({port}) but refuses connections from outside: bind to 0.0.0.0, not to localhost"
        ));
    }
    let ports: Vec<String> = ports.iter().take(8).map(u16::to_string).collect();
    Some(format!("The process listens on port {} but $PORT is {port}", ports.join(", ")))
}

pub(crate) fn r12(stop_grace: Duration) -> String {
    format!(
        "Error R12 (Exit timeout) -> Process failed to exit within {} seconds of SIGTERM",
        stop_grace.as_secs()
    )
}

/// "Checksum does match" is Heroku's own wording.
pub(crate) fn r17(expected: &SlugId, actual: &SlugId) -> String {
    format!(
        "Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:{expected} Actual: SHA256:{actual}"
    )
}

/// Ours, as everything about checks: Heroku has none.
pub(crate) fn ailing(finding: &Finding) -> String {
    format!("Health check failed {} times in a row: {}", finding.times, finding.why)
}

pub(crate) const WELL_AGAIN: &str = "Health check passes again";

pub(crate) fn not_ready(finding: &Finding) -> String {
    format!("Not ready, gets no requests: {}", finding.why)
}

pub(crate) const READY: &str = "Ready, gets requests";

/// Megabytes are 2^20 bytes and whole, the share of the quota has one decimal.
pub(crate) fn memory(used_bytes: u64, class: &Class) -> String {
    let quota = class.memory_bytes.max(1);
    let per_mille = u128::from(used_bytes) * 1000 / u128::from(quota);
    format!("Process running mem={}MB({}.{}%)", used_bytes >> 20, per_mille / 10, per_mille % 10)
}

/// Our own line where Heroku has none: the dyno could not be made at all.
pub(crate) fn start_failed(reason: &str) -> String {
    format!("Failed to start process: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Classes;

    #[test]
    fn the_words_are_herokus() {
        let class = Classes::standard().named("standard-1x").unwrap();
        for (line, words) in [
            (state_changed("starting", "up"), "State changed from starting to up"),
            (
                starting("bundle exec rails server -p 22020"),
                "Starting process with command `bundle exec rails server -p 22020`",
            ),
            (
                r10(Duration::from_mins(1)),
                "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 60 seconds of launch",
            ),
            (
                r12(Duration::from_secs(30)),
                "Error R12 (Exit timeout) -> Process failed to exit within 30 seconds of SIGTERM",
            ),
            (exited(143), "Process exited with status 143"),
            (memory(1029 << 20, &class), "Process running mem=1029MB(200.9%)"),
            (
                R16.to_owned(),
                "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed.",
            ),
        ] {
            assert_eq!(line, words);
        }
    }

    #[test]
    fn a_wrong_port_is_explained() {
        let said = |ports: &[u16]| listened_instead(5000, ports).unwrap_or_default();
        assert_eq!(said(&[]), "");
        assert_eq!(said(&[3000, 8080]), "The process listens on port 3000, 8080 but $PORT is 5000");
        assert!(said(&[5000]).contains("bind to 0.0.0.0"));
    }
}
