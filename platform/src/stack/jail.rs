//! Runs Debian's own tools on a tree: in namespaces that end with us, output read line by line.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Lines of output kept for an error.
const TAIL_LINES: usize = 12;

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
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

impl JailError {
    /// What an operator can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Spawn { program, .. } => {
                format!("`lathe doctor` says which Debian package brings {program}.")
            }
            Self::Read { .. } => "Try again.".into(),
            Self::Failed { .. } => "Check that the mirror (stacks.mirror) can be reached and that \
                 the disk has 3 GB free, then try again."
                .into(),
        }
    }
}

/// Where and how tools run: the tree they work on, and the proxy through which they fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jail<'a> {
    pub(super) root: &'a Path,
    pub(super) proxy: Option<&'a str>,
}

impl Jail<'_> {
    /// A program of the host; it is given the tree as an argument.
    pub(super) fn outside(&self, program: &str) -> Command {
        self.namespaced(&[], program)
    }

    /// A program of the tree itself, with the tree as its root and a `/proc`.
    pub(super) fn inside(&self, program: &str) -> Command {
        let mut mount_proc = OsString::from("--mount-proc=");
        mount_proc.push(self.root.join("proc"));
        let chroot = [mount_proc.as_os_str(), OsStr::new("chroot"), self.root.as_os_str()];
        self.namespaced(&chroot, program)
    }

    /// Wraps a program so that it and all it starts die with this process, and so that what it
    /// mounts is seen by nobody else and gone when it ends.
    fn namespaced(&self, before: &[&OsStr], program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child"])
            .args(before)
            .arg(program)
            .current_dir("/")
            .env_clear()
            .envs(ENVIRONMENT.iter().copied());
        if let Some(proxy) = self.proxy {
            command.env("http_proxy", proxy).env("https_proxy", proxy);
        }
        command
    }
}

/// Nothing of the operator's own environment reaches package scripts.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
];

/// Runs to the end, calling `line` with each line of stdout and stderr.
pub(super) fn run(
    program: &str,
    mut command: Command,
    line: &mut dyn FnMut(&str),
) -> Result<(), JailError> {
    let read_error = |source| JailError::Read { program: program.to_owned(), source };
    let spawn_error = |source| JailError::Spawn { program: program.to_owned(), source };
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
        Err(JailError::Failed { program: program.to_owned(), status, tail: tail.into() })
    }
}
