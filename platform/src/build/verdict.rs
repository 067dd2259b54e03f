//! What became of a build, from everything that was seen of it. Pure.

use super::BuildError;
use lathe_compiler::Compiled;
use lathe_compiler::wire::Outcome;
use lathe_dynos::containers::Ended;
use std::time::Duration;

/// More is nobody's Procfile.
const PROCESS_TYPES_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 64;
const COMMAND_BYTES_MAX: usize = 32 * 1024;
const CONFIG_VARS_MAX: usize = 100;

/// Why we ended a build ourselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stopped {
    Cancelled,
    TimedOut(Duration),
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) stopped: Option<Stopped>,
    pub(super) ended: Ended,
    /// What came on the outcome's pipe.
    pub(super) outcome: Vec<u8>,
    pub(super) memory_limit_bytes: u64,
    pub(super) process_limit: u32,
}

/// The compiler's answer when it is a success that can be believed. A build runs code we do not
/// know, so each part is checked as if a stranger had sent it.
pub(super) fn judge(seen: &Seen) -> Result<Compiled, BuildError> {
    match seen.stopped {
        Some(Stopped::Cancelled) => return Err(BuildError::Cancelled),
        Some(Stopped::TimedOut(limit)) => return Err(BuildError::TimedOut { limit }),
        None => {}
    }
    if seen.outcome.is_empty() {
        let silent = BuildError::Silent { status: seen.ended.status };
        return Err(limit(seen).unwrap_or(silent));
    }
    match serde_json::from_slice(&seen.outcome).map_err(BuildError::Answer)? {
        // The compiler only sees that a program failed; the kernel says why.
        Outcome::Failed { step, reason, .. } => {
            Err(limit(seen).unwrap_or(BuildError::Rejected { step, reason }))
        }
        Outcome::Compiled(compiled) => {
            check(&compiled)?;
            Ok(*compiled)
        }
    }
}

/// The limit that the build ran into, if it did.
fn limit(seen: &Seen) -> Option<BuildError> {
    if seen.ended.oom_killed {
        return Some(BuildError::OutOfMemory { limit_bytes: seen.memory_limit_bytes });
    }
    seen.ended.pids_denied.then_some(BuildError::OutOfProcesses { limit: seen.process_limit })
}

fn check(compiled: &Compiled) -> Result<(), BuildError> {
    let unfit = |what: String| Err(BuildError::Unfit { what });
    if compiled.process_types.len() > PROCESS_TYPES_MAX {
        return unfit(format!("more than {PROCESS_TYPES_MAX} process types"));
    }
    for (name, command) in &compiled.process_types {
        if !is_process_type(name) || command.len() > COMMAND_BYTES_MAX || command.contains('\0') {
            return unfit(format!("process type {}", name.escape_debug()));
        }
    }
    if compiled.config_vars.len() > CONFIG_VARS_MAX {
        return unfit(format!("more than {CONFIG_VARS_MAX} config vars"));
    }
    for (name, value) in &compiled.config_vars {
        if !is_variable(name) || value.len() > COMMAND_BYTES_MAX || value.contains('\0') {
            return unfit(format!("config var {}", name.escape_debug()));
        }
    }
    Ok(())
}

/// Heroku Dev Center, "The Procfile": letters, digits, dashes and underscores.
fn is_process_type(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn is_variable(name: &str) -> bool {
    (1..=NAME_BYTES_MAX * 4).contains(&name.len())
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compiled(process_type: &str, variable: &str) -> Vec<u8> {
        let digest = "0".repeat(64);
        let manifest = json!({
            "id": digest, "diff_id": digest, "bytes": 1, "unpacked_bytes": 1, "entries": 1
        });
        let answer = json!({
            "outcome": "compiled", "manifest": manifest, "process_types": [[process_type, "run"]],
            "config_vars": { variable: "x" }, "buildpacks": [],
            "inputs": {"source": digest, "locks": {}}, "detected": "X", "stack": "s",
        });
        serde_json::to_vec(&answer).unwrap()
    }

    fn failed() -> Vec<u8> {
        let answer = json!({"outcome": "failed", "step": "compile", "reason": "r", "remedy": "m"});
        serde_json::to_vec(&answer).unwrap()
    }

    fn seen(outcome: Vec<u8>, oom_killed: bool, stopped: Option<Stopped>) -> Seen {
        let ended = Ended { status: 137, oom_killed, ..Ended::default() };
        Seen { stopped, ended, outcome, memory_limit_bytes: 4 << 30, process_limit: 64 }
    }

    #[test]
    fn verdicts() {
        let good = || compiled("web", "A");
        assert!(judge(&seen(good(), false, None)).is_ok());
        // A program that was killed for memory and that the build could do without.
        assert!(judge(&seen(good(), true, None)).is_ok());
        let limit = Duration::from_secs(5);
        for (seen, expected) in [
            (seen(good(), false, Some(Stopped::Cancelled)), "cancelled"),
            (seen(failed(), true, Some(Stopped::TimedOut(limit))), "not finished after 5 s"),
            (seen(failed(), false, None), "compile: r"),
            (seen(failed(), true, None), "out of memory"),
            (seen(Vec::new(), true, None), "out of memory"),
            (seen(Vec::new(), false, None), "the compiler ended with status 137 and said nothing"),
            (seen(b"{}".to_vec(), false, None), "the compiler's answer could not be understood"),
        ] {
            assert_eq!(judge(&seen).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_build_that_was_refused_processes_says_so() {
        let mut seen = seen(failed(), false, None);
        seen.ended.pids_denied = true;
        assert_eq!(judge(&seen).unwrap_err().to_string(), "no more processes than 64");
        seen.ended.oom_killed = true;
        assert_eq!(judge(&seen).unwrap_err().to_string(), "out of memory");
        seen.outcome = compiled("web", "A");
        assert!(judge(&seen).is_ok());
    }

    #[test]
    fn answers_are_not_believed() {
        for (process_type, variable) in
            [("", "A"), ("../x", "A"), ("web\n", "A"), ("web", ""), ("web", "1A"), ("web", "A=B")]
        {
            let judged = judge(&seen(compiled(process_type, variable), false, None));
            assert!(
                matches!(judged, Err(BuildError::Unfit { .. })),
                "{process_type:?} {variable:?}"
            );
        }
    }
}
