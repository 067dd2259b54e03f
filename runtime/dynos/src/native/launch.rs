//! The dyno's own process: from a fork of the first one to the app's program.

use super::record::Record;
use super::wire::Failure;
use super::{confine, syscalls};
use crate::spec::{DynoSpec, SYSTEM_APP};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, NulError, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Where a program is looked for unless the app's config says otherwise.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// When memory runs out, an app's process goes before the container's first one, which is the
/// witness, and before the platform.
const MEMORY_PRIORITY: &str = "500";

/// Where scripts of the buildpacks are, and the app's own.
const SCRIPTS: &str = "/app/.profile.d";
const SCRIPT: &str = "/app/.profile";

/// Heroku's start of a dyno: scripts of the buildpacks, then the app's own, then the command.
/// The command is an argument, never a part of the text.
const PRELUDE: &str = r#"
lathe_load() {
  local script
  for script in /app/.profile.d/*.sh /app/.profile; do
    if [ -f "$script" ]; then . "$script"; fi
  done
}
lathe_load
unset -f lathe_load
hash -r
exec bash -c "$1"
"#;

/// Becomes the app's program, in memory that is the first process's; returns only to say why not.
pub(super) fn execute(record: &Record, files: &[OwnedFd], terminal: bool) -> Failure {
    match try_execute(record, files, terminal) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn try_execute(record: &Record, files: &[OwnedFd], terminal: bool) -> Result<Infallible, Failure> {
    rustix::process::setsid().map_err(Failure::at("start session"))?;
    if terminal && let Some(terminal) = files.first() {
        rustix::process::ioctl_tiocsctty(terminal).map_err(Failure::at("take terminal"))?;
    }
    let numbers: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    syscalls::place(&numbers, true).map_err(Failure::at("place descriptors"))?;
    if record.spec.app.as_str() != SYSTEM_APP {
        fs::write("/proc/self/oom_score_adj", MEMORY_PRIORITY)
            .map_err(Failure::at("set memory priority"))?;
    }
    nix::unistd::chdir("/app")
        .or_else(|_| nix::unistd::chdir("/"))
        .map_err(Failure::at("enter /app"))?;
    let environment = environment(&record.spec, terminal);
    let arguments = match &record.argv {
        None if !has_scripts() => plain(&record.spec.command),
        argv => arguments(argv.as_deref(), &record.spec.command),
    };
    let nul = |_: NulError| Failure { step: "pass arguments".to_owned(), errno: libc::EINVAL };
    let argv = arguments
        .iter()
        .map(|text| CString::new(text.as_str()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(nul)?;
    let env = environment
        .iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect::<Result<Vec<_>, _>>()
        .map_err(nul)?;
    let path = match &record.argv {
        Some(_) => environment.get("PATH").map_or(PATH, String::as_str),
        // The shell of a dyno is the stack's, wherever the app's own PATH leads.
        None => PATH,
    };
    let candidates = candidates(&arguments, path);
    confine::app_process(record.spec.uid)?;
    syscalls::reset_signals().map_err(Failure::at("reset signals"))?;
    let mut errno = nix::errno::Errno::ENOENT;
    for path in candidates {
        let Ok(path) = CString::new(path) else { continue };
        let Err(error) = nix::unistd::execve(&path, &argv, &env);
        if error != nix::errno::Errno::ENOENT {
            errno = error;
        }
    }
    let program = arguments.first().map_or("", String::as_str);
    Err(Failure::at(format!("execute {program}"))(io::Error::from(errno)))
}

/// What is executed: the caller's own words, or the dyno's command after its scripts.
pub(crate) fn arguments(argv: Option<&[String]>, command: &str) -> Vec<String> {
    match argv {
        Some(argv) => argv.to_vec(),
        None => ["bash", "-c", PRELUDE, "bash", command].map(str::to_owned).to_vec(),
    }
}

/// As `arguments`, where there is no script before the command.
fn plain(command: &str) -> Vec<String> {
    ["bash", "-c", command].map(str::to_owned).to_vec()
}

/// Whether there may be a script. A shell that only looks for some costs as much as one that does
/// something.
fn has_scripts() -> bool {
    let mut found = fs::read_dir(SCRIPTS).into_iter().flatten().flatten();
    let is_script = |name: &OsStr| name.as_encoded_bytes().ends_with(b".sh");
    found.any(|entry| is_script(&entry.file_name())) || fs::symlink_metadata(SCRIPT).is_ok()
}

/// The app's config, and what the platform says about the dyno, which no config may change.
pub(crate) fn environment(spec: &DynoSpec, terminal: bool) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    if terminal {
        environment.insert("TERM".to_owned(), "xterm-256color".to_owned());
    }
    environment.extend(spec.env.clone());
    environment.insert("DYNO".to_owned(), spec.name.clone());
    environment.insert("HOME".to_owned(), "/app".to_owned());
    if let Some(port) = spec.port {
        environment.insert("PORT".to_owned(), port.to_string());
    }
    environment
}

/// Where the program may be: as it is when it names a directory, else along `path`.
fn candidates(arguments: &[String], path: &str) -> Vec<String> {
    match arguments.first() {
        None => Vec::new(),
        Some(program) if program.contains('/') => vec![program.clone()],
        Some(program) => path
            .split(':')
            .filter(|directory| !directory.is_empty())
            .map(|directory| format!("{directory}/{program}"))
            .collect(),
    }
}
