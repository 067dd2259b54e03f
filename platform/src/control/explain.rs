//! Why a release did not boot, in words for whoever pushed it.

use super::verdict::Failure;
use super::wanted::Lack;
use crate::config::Patience;
use lathe_dynos::checks::Finding;
use lathe_dynos::spec::{End, EndCause};

/// `port` is what `$PORT` was.
pub(super) fn boot_failure(
    dyno: &str,
    why: &Failure,
    port: Option<u16>,
    patience: Patience,
) -> String {
    let end = match why {
        Failure::Ended(Some(end)) => end,
        Failure::Ended(None) => return format!("{dyno} did not start"),
        Failure::Lacks(lack) => return lacks(dyno, lack),
        Failure::NotReady => return not_ready(dyno, patience),
        Failure::Ailing(finding) => {
            let Finding { times, why, .. } = finding;
            return format!("{dyno} failed its health check {times} times in a row: {why}");
        }
    };
    let mut text = reason(dyno, end, port, patience);
    if !end.last_lines.is_empty() {
        text.push_str("\nIts last lines:");
        for line in &end.last_lines {
            text = text + "\n    " + line;
        }
    }
    text
}

fn lacks(dyno: &str, lack: &Lack) -> String {
    match lack {
        Lack::Stack(digest) => format!(
            "{dyno} cannot start: the stack that its release was compiled for is not on this machine\n\
             It is {digest}: copy it from the old machine's stacks.dir, or push a new commit"
        ),
        Lack::Class(name) => format!(
            "{dyno} cannot start: its dyno type {name} is not in the platform's settings any more\n\
             Choose another one: heroku ps:type, then release again"
        ),
    }
}

fn not_ready(dyno: &str, patience: Patience) -> String {
    let within = patience.boot_timeout.as_secs();
    format!(
        "{dyno} was up, but not ready within {within} seconds\n\
         The app's log says why; LATHE_READY_PATH or LATHE_READY_COMMAND is what was asked"
    )
}

fn reason(dyno: &str, end: &End, port: Option<u16>, patience: Patience) -> String {
    let peak = format!("memory peak {} MB", end.memory_peak_bytes / (1024 * 1024));
    match &end.cause {
        EndCause::BootTimeout => {
            let opened = match end.listened.as_slice() {
                [] => "It opened no port".to_owned(),
                ports => {
                    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                    format!("It listens on port {} instead", ports.join(", "))
                }
            };
            let wanted = port.map(|port| format!(" ({port})")).unwrap_or_default();
            let within = patience.boot_timeout.as_secs();
            format!(
                "{dyno} did not listen on $PORT{wanted} within {within} seconds (R10), {peak}\n\
                 {opened}: make the web process bind 0.0.0.0:$PORT"
            )
        }
        EndCause::OutOfMemory => format!(
            "{dyno} used more memory than its dyno type has (R15), {peak}\n\
             Use a larger one: heroku ps:type, or make the process smaller"
        ),
        EndCause::Lost => format!("{dyno} vanished, and nobody knows how it ended"),
        EndCause::StartFailed(step) => format!("{dyno} could not be started: {step}"),
        EndCause::Exit | EndCause::Stopped | EndCause::Killed => {
            format!("{dyno} {}, {peak}", exit(end.status))
        }
    }
}

fn exit(status: u8) -> String {
    match status {
        0 => "ended by itself with status 0; a web process has to stay".into(),
        126 => "exited with status 126: the command is not executable".into(),
        127 => "exited with status 127: the command was not found".into(),
        129.. => format!("was ended by signal {} (status {status})", status - 128),
        _ => format!("exited with status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_reason_the_ports_and_the_last_lines() {
        let end = |status, cause, listened: &[u16]| End {
            status,
            cause,
            memory_peak_bytes: 21 << 20,
            listened: listened.to_vec(),
            last_lines: vec!["one".to_owned(), "two".to_owned()],
        };
        let cases = [
            (
                end(127, EndCause::Exit, &[]),
                "web.1 exited with status 127: the command was not found, memory peak 21 MB\nIts last lines:\n    one\n    two",
            ),
            (
                end(139, EndCause::Exit, &[]),
                "web.1 was ended by signal 11 (status 139), memory peak 21 MB\nIts last lines:\n    one\n    two",
            ),
            (
                end(137, EndCause::BootTimeout, &[3000]),
                "web.1 did not listen on $PORT (12345) within 60 seconds (R10), memory peak 21 MB\nIt listens on port 3000 instead: make the web process bind 0.0.0.0:$PORT\nIts last lines:\n    one\n    two",
            ),
        ];
        for (end, expected) in cases {
            let why = Failure::Ended(Some(end));
            assert_eq!(boot_failure("web.1", &why, Some(12345), Patience::HEROKU), expected);
        }
        let finding = Finding { since_ms: 0, times: 3, why: "/up was answered with 500".into() };
        for (why, expected) in [
            (Failure::Ended(None), "web.1 did not start"),
            (
                Failure::Lacks(Lack::Stack("ab12".into())),
                "web.1 cannot start: the stack that its release was compiled for is not on this \
                 machine\nIt is ab12: copy it from the old machine's stacks.dir, or push a new commit",
            ),
            (
                Failure::Lacks(Lack::Class("Large".into())),
                "web.1 cannot start: its dyno type Large is not in the platform's settings any \
                 more\nChoose another one: heroku ps:type, then release again",
            ),
            (
                Failure::Ailing(finding),
                "web.1 failed its health check 3 times in a row: /up was answered with 500",
            ),
            (
                Failure::NotReady,
                "web.1 was up, but not ready within 60 seconds\nThe app's log says why; \
                 LATHE_READY_PATH or LATHE_READY_COMMAND is what was asked",
            ),
        ] {
            assert_eq!(boot_failure("web.1", &why, None, Patience::HEROKU), expected);
        }
    }
}
