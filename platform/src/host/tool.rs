//! Runs a program of the host to its end and reads what it says line by line.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};

/// Lines of output kept for an error.
const TAIL_LINES: usize = 12;

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("cannot run {program}")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot read what {program} says")]
    Read {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} ended with {status}; it said:\n{}", tail.join("\n"))]
    Failed { program: String, status: ExitStatus, tail: Vec<String> },
}

impl ToolError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Spawn { program, .. } => {
                format!("`lathe doctor` says which Debian package brings {program}.")
            }
            Self::Read { .. } => "Try again.".into(),
            Self::Failed { .. } => "Mend what it says, then try again. When it fetches packages: \
                 check the network and the free disk space first."
                .into(),
        }
    }
}

/// Runs to the end, calling `line` with each line of stdout and stderr.
pub fn run(
    program: &str,
    mut command: Command,
    line: &mut dyn FnMut(&str),
) -> Result<(), ToolError> {
    let read_error = |source| ToolError::Read { program: program.to_owned(), source };
    let spawn_error = |source| ToolError::Spawn { program: program.to_owned(), source };
    let (reader, writer) = io::pipe().map_err(spawn_error)?;
    let both = writer.try_clone().map_err(spawn_error)?;
    command.stdin(Stdio::null()).stdout(writer).stderr(both);
    let mut child = command.spawn().map_err(spawn_error)?;
    // The command holds the write ends; the reader sees the end only when they are gone.
    drop(command);

    let mut tail = VecDeque::new();
    for bytes in BufReader::new(reader).split(b'\n') {
        let bytes = bytes.map_err(read_error)?;
        let text = String::from_utf8_lossy(&bytes);
        line(&text);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text.into_owned());
    }
    let status = child.wait().map_err(read_error)?;
    if status.success() {
        Ok(())
    } else {
        Err(ToolError::Failed { program: program.to_owned(), status, tail: tail.into() })
    }
}
