//! Runs `bin/compile` of each buildpack, and carries what it exports to the next.

use crate::buildpack::Buildpack;
use crate::detect::{self, Chosen};
use crate::error::{CompileError, Failed};
use crate::failure;
use crate::program::{Ended, Ending, Program};
use crate::site::{Folders, Site};
use crate::transcript::{Transcript, plain};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
const EXPORT_BYTES_MAX: usize = 1 << 20;
/// The shell sets these for itself; they are nothing a buildpack exported.
const OF_THE_SHELL: [&str; 4] = ["_", "PWD", "OLDPWD", "SHLVL"];

/// What the app is built for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    Slug,
    /// By `bin/test-compile`, where a buildpack has it.
    Tests,
}

impl Aim {
    fn program(self, pack: &Buildpack) -> PathBuf {
        let for_tests = match self {
            Self::Slug => None,
            Self::Tests => pack.program("test-compile"),
        };
        for_tests.unwrap_or_else(|| pack.dir.join("bin/compile"))
    }
}

/// Builds the app with each buildpack in turn.
pub(crate) fn build(
    site: &mut Site<'_>,
    chosen: &mut [Chosen],
    aim: Aim,
    out: &mut Transcript,
) -> Result<(), CompileError> {
    for Chosen { pack, app } in chosen {
        let app = match app {
            Some(app) => app,
            None => app.insert(detect::app(site, pack, out)?),
        };
        out.step(&format!("{app} app detected"));
        compile(site, pack, &aim.program(pack), app, out)?;
        site.env = exported(site, pack)?;
    }
    Ok(())
}

/// `bin/compile BUILD_DIR CACHE_DIR ENV_DIR`, with its output shown as it comes.
fn compile(
    site: &Site<'_>,
    pack: &Buildpack,
    path: &Path,
    app: &str,
    out: &mut Transcript,
) -> Result<(), CompileError> {
    let Ended { ending, at_work } = site
        .program(pack, path, Folders::BuildCacheEnv)
        .stream(&site.watch, |bytes| out.raw(bytes))
        .map_err(|source| CompileError::Run {
            buildpack: pack.name.clone(),
            program: "compile",
            source,
        })?;
    out.end_line();
    let app = app.to_owned();
    let ending = match ending {
        Ending::Exited(0) => return Ok(()),
        Ending::Exited(status) => Failed::Exit(status),
        Ending::Signaled(signal) => Failed::Signal(signal),
        Ending::Cancelled => return Err(CompileError::Cancelled),
        Ending::TimedOut => {
            let limit = site.job.timeout;
            let at_work = at_work.iter().map(|line| out.masked(line)).collect();
            return Err(CompileError::TimedOut { app, limit, at_work });
        }
    };
    let tail = out.tail();
    let last_words = failure::last_words(&tail);
    let advice = failure::advice(&tail);
    Err(CompileError::Compile { app, ending, full_disk: site.full_disk(), last_words, advice })
}

/// The environment after sourcing the buildpack's `export` file, by bash as Heroku does.
fn exported(site: &Site<'_>, pack: &Buildpack) -> Result<BTreeMap<String, OsString>, CompileError> {
    let file = pack.dir.join("export");
    if !file.is_file() {
        return Ok(site.env.clone());
    }
    let failed = |said: String| CompileError::Export { buildpack: pack.name.clone(), said };
    // The script is a constant and the path its argument: no shell text is made of names.
    let script = r#"source "$1" >&2; exec /usr/bin/env -0"#;
    let bash = Program {
        path: Path::new("/bin/bash"),
        args: vec!["-c".into(), script.into(), "bash".into(), file.into()],
        cwd: &pack.dir,
        env: &site.env,
    };
    let seen = site.ask(&bash, EXPORT_TIMEOUT, EXPORT_BYTES_MAX).map_err(|source| {
        CompileError::Run { buildpack: pack.name.clone(), program: "compile", source }
    })?;
    match seen.ending {
        Ending::Exited(0) if seen.cut => Err(failed("it exports more than 1 MB".to_owned())),
        Ending::Exited(0) => Ok(parse_env(&seen.stdout)),
        Ending::Cancelled => Err(CompileError::Cancelled),
        Ending::TimedOut => Err(failed("it did not end".to_owned())),
        Ending::Exited(_) | Ending::Signaled(_) => {
            let said = String::from_utf8_lossy(&seen.stderr);
            Err(failed(plain(said.lines().last().unwrap_or("it ended the shell"))))
        }
    }
}

/// `NAME=value` entries, each ended by a NUL. Exported functions and other odd names are left out.
fn parse_env(bytes: &[u8]) -> BTreeMap<String, OsString> {
    let entries = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let equals = entry.iter().position(|byte| *byte == b'=')?;
        let name = std::str::from_utf8(&entry[..equals]).ok()?;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        (plain && !name.is_empty() && !OF_THE_SHELL.contains(&name))
            .then(|| (name.to_owned(), OsStr::from_bytes(&entry[equals + 1..]).to_owned()))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_read_back() {
        let bytes = b"PATH=/a:/b\0_=/usr/bin/env\0X=a=b\nc\0BASH_FUNC_f%%=() { :; }\0SHLVL=1\0E=\0";
        let env = parse_env(bytes);
        let expected = [("E", ""), ("PATH", "/a:/b"), ("X", "a=b\nc")];
        let expected = expected.map(|(name, value)| (name.to_owned(), OsString::from(value)));
        assert_eq!(env, BTreeMap::from(expected));
    }
}
