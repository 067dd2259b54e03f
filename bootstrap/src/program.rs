//! Programs that the check runs to their end, hearing them line by line.

use crate::Stop;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How often a silent program is looked after.
const TICK: Duration = Duration::from_secs(1);
const LINES_WAITING_MAX: usize = 256;
const LINE_BYTES_MAX: u64 = 16 << 10;
/// What a program answers on stdout; ours answer in some kilobytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// Lines kept for an error.
const TAIL_LINES: usize = 20;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("cannot run {program}")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot hear what {program} says")]
    Hear {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} ended with {status}")]
    Failed {
        program: String,
        status: ExitStatus,
        #[source]
        said: Said,
    },
    #[error("{program} was stopped")]
    Stopped { program: String },
}

/// The last words of a program that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", if .0.is_empty() { "it said nothing" } else { .0 })]
pub struct Said(String);

/// What is heard of a program while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'a> {
    Line(&'a str),
    /// Nothing, for a second.
    Silence,
}

/// Runs it to its end, hearing its stderr, and gives what it wrote to stdout. When the check is
/// stopped, it is killed with everything it has started.
pub(crate) fn run(
    program: &str,
    mut command: Command,
    stop: &Stop,
    heard: &mut dyn FnMut(Heard<'_>),
) -> Result<Vec<u8>, ProgramError> {
    let name = || program.to_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child =
        command.spawn().map_err(|source| ProgramError::Spawn { program: name(), source })?;
    let group = Pid::from_raw(child.id().cast_signed());
    let (lines, queue) = sync_channel(LINES_WAITING_MAX);
    let stderr = child.stderr.take();
    thread::spawn(move || stderr.map(|stderr| read_lines(stderr, &lines)));
    let stdout = child.stdout.take();
    let answer = thread::spawn(move || stdout.map_or(Ok(Vec::new()), read_answer));

    let mut tail = VecDeque::new();
    loop {
        match queue.recv_timeout(TICK) {
            Ok(line) => {
                heard(Heard::Line(&line));
                tail.push_back(line);
                if tail.len() > TAIL_LINES {
                    tail.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => heard(Heard::Silence),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if stop.is_asked() {
            // It may have ended by itself meanwhile.
            killpg(group, Signal::SIGKILL).ok();
        }
    }
    let failed = |source| ProgramError::Hear { program: name(), source };
    let status = child.wait().map_err(failed)?;
    if stop.is_asked() {
        return Err(ProgramError::Stopped { program: name() });
    }
    if !status.success() {
        let said = Said(Vec::from(tail).join("\n"));
        return Err(ProgramError::Failed { program: name(), status, said });
    }
    answer.join().unwrap_or_else(|_| Ok(Vec::new())).map_err(failed)
}

/// Lines without their ends; a longer one comes in pieces. A pipe that breaks is the end, too.
fn read_lines(stderr: impl Read, lines: &SyncSender<String>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    while let Ok(1..) = stderr.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if lines.send(text).is_err() {
            return;
        }
        line.clear();
    }
}

fn read_answer(stdout: impl Read) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn it_is_heard_and_answers() {
        let mut lines = Vec::new();
        let answer =
            run("sh", shell("echo a >&2; echo b >&2; echo c"), &Stop::default(), &mut |h| {
                if let Heard::Line(line) = h {
                    lines.push(line.to_owned());
                }
            });
        assert_eq!(answer.unwrap(), b"c\n");
        assert_eq!(lines, ["a", "b"]);
    }

    #[test]
    fn a_failure_keeps_the_last_words() {
        let script = "for n in $(seq 50); do echo $n >&2; done; exit 3";
        let failed = run("sh", shell(script), &Stop::default(), &mut |_| {}).unwrap_err();
        let ProgramError::Failed { status, said, .. } = failed else { panic!("{failed}") };
        assert_eq!(status.code(), Some(3));
        let words = said.to_string();
        assert!(words.starts_with("31\n") && words.ends_with("\n50"), "{words}");
    }

    #[test]
    fn stopping_kills_what_it_has_started_too() {
        let stop = Stop::default();
        let asked = stop.clone();
        let stopped =
            run("sh", shell("echo up >&2; sleep 600 & wait"), &stop, &mut |_| asked.ask());
        assert!(matches!(stopped, Err(ProgramError::Stopped { .. })), "{stopped:?}");
    }
}
