//! Git as a program of its own: nothing of our environment, the same settings wherever it is called, and
//! a bound on the memory of whatever reads what somebody has pushed.

use crate::config::Push;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::io;
use std::path::Path;
use std::process::Command;

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Settings for every call, given on the command line: they hold for repositories made by older
/// versions too, and nothing in a repository can change them.
const SETTINGS: &[(&str, &str)] = &[
    // With git's defaults an acknowledged push is lost at a power cut; see also `git/durable.rs`.
    ("core.fsync", "all"),
    // A large file is streamed, not held in memory.
    ("core.bigFileThreshold", "8m"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("receive.fsckObjects", "true"),
    ("receive.keepAlive", "5"),
    ("receive.autogc", "false"),
    ("receive.advertisePushOptions", "false"),
    // All or nothing cannot be kept: what is released as the refs are taken serves already.
    ("receive.advertiseAtomic", "false"),
    // Heroku takes `--force`; the deploy branch itself cannot be deleted, see `git/policy.rs`.
    ("receive.denyNonFastForwards", "false"),
    // One pack a push instead of loose objects: a handful of files to make durable.
    ("receive.unpackLimit", "1"),
    ("receive.updateServerInfo", "false"),
    ("uploadpack.keepAlive", "5"),
    ("pack.threads", "1"),
    ("pack.windowMemory", "64m"),
    ("safe.directory", "*"),
];

/// A `git` that works in the directory `dir`; its verb and arguments are the caller's.
pub(crate) fn git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_NO_REPLACE_OBJECTS", "1");
    for (key, value) in SETTINGS {
        command.arg("-c").arg(format!("{key}={value}"));
    }
    command.current_dir(dir);
    command
}

/// To unfold one object git has its base, what makes it of that, and itself in memory.
const COPIES: u64 = 3;
/// For everything else: caches, and what a pack of very many objects needs for each.
const BESIDE_BYTES: u64 = 512 << 20;

/// What a git may take that reads a push: enough for the largest file that is allowed, however it is
/// packed. A few megabytes can be packed to unfold to any size.
pub(crate) fn memory_bytes(push: &Push) -> u64 {
    push.file_bytes.saturating_mul(COPIES).saturating_add(BESIDE_BYTES)
}

/// Bounds the memory of a process that was just started, and has read nothing yet, and of all that it
/// starts. Beyond it an allocation fails, and git ends with a word about that.
pub(crate) fn bound_memory(pid: u32, bytes: u64) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    // Not the address space: files that are mapped take no memory from anybody.
    prlimit(Some(pid), Resource::Data, limit)?;
    Ok(())
}
