//! Gets a buildpack from wherever it is named to be, into a folder of our own.

use super::{Buildpack, Catalogue, Reference};
use crate::program::{Captured, Ending, Program, Watch};
use crate::source::copy_tree;
use lathe_slug::{Layout, UnpackError, UnpackLimits, unpack};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Heroku's slug compiler gives a buildpack this long to arrive.
const FETCH_TIMEOUT: Duration = Duration::from_secs(90);
const ARCHIVE_BYTES_MAX: &str = "209715200";
const OUTPUT_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("it is not built in; there are {known}")]
    Unknown { known: String },
    #[error("copying the folder failed")]
    Copy(#[source] io::Error),
    #[error("could not run {program}")]
    Run {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{program} said: {said}")]
    Refused { program: &'static str, said: String },
    #[error("it did not arrive within {} seconds", FETCH_TIMEOUT.as_secs())]
    TimedOut,
    #[error("the build was cancelled")]
    Cancelled,
    #[error("the archive could not be read")]
    Open(#[source] io::Error),
    #[error("the archive could not be unpacked")]
    Unpack(#[source] UnpackError),
}

/// What fetching needs beside the reference.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    pub(crate) env: &'a BTreeMap<String, OsString>,
    pub(crate) watch: &'a Watch,
    /// A folder for downloads, on the same disk.
    pub(crate) scratch: &'a Path,
    /// How much an archive may hold.
    pub(crate) limits: &'a UnpackLimits,
}

/// Brings the buildpack to the new folder `dir`, or to one inside it.
pub(crate) fn fetch(
    reference: &Reference,
    catalogue: &Catalogue,
    dir: &Path,
    errand: &Errand<'_>,
) -> Result<Buildpack, FetchError> {
    let errand = Errand { watch: &errand.watch.at_most(FETCH_TIMEOUT), ..*errand };
    let name = reference.to_string();
    let mut pack = Buildpack { name: name.clone(), url: None, commit: None, dir: dir.to_owned() };
    match reference {
        Reference::Name(name) => {
            let unknown = || FetchError::Unknown { known: catalogue.order().join(", ") };
            copy_tree(&catalogue.find(name).ok_or_else(unknown)?, dir).map_err(FetchError::Copy)?;
        }
        Reference::Folder(folder) => copy_tree(folder, dir).map_err(FetchError::Copy)?,
        Reference::Git { url, rev } => {
            let commit = clone(url, rev.as_deref().unwrap_or("HEAD"), dir, &errand);
            pack.commit = Some(commit.map_err(|error| error.without(url, &name))?);
            pack.url = Some(name);
        }
        Reference::Tarball { url } => {
            pack.dir = download(url, dir, &errand).map_err(|error| error.without(url, &name))?;
            pack.url = Some(name);
        }
    }
    Ok(pack)
}

/// One commit and nothing else: no history, no tags, no submodules, no hooks, no other protocol.
fn clone(url: &str, rev: &str, dir: &Path, errand: &Errand<'_>) -> Result<String, FetchError> {
    fs::create_dir_all(dir).map_err(FetchError::Copy)?;
    git(&["init", "--quiet"], dir, errand)?;
    git(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", url, rev], dir, errand)?;
    git(&["checkout", "--quiet", "--detach", "FETCH_HEAD"], dir, errand)?;
    let commit = git(&["rev-parse", "--verify", "HEAD"], dir, errand)?;
    fs::remove_dir_all(dir.join(".git")).map_err(FetchError::Copy)?;
    Ok(commit)
}

fn git(args: &[&str], dir: &Path, errand: &Errand<'_>) -> Result<String, FetchError> {
    let mut env = errand.env.clone();
    for (name, value) in [
        ("GIT_ALLOW_PROTOCOL", "https:file"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
    ] {
        env.insert(name.to_owned(), value.into());
    }
    // A repository on this machine may belong to another user, as ours do inside a build.
    let settings = ["-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*"];
    let args = settings.iter().chain(args).map(OsString::from).collect();
    let seen = run("git", args, dir, &Errand { env: &env, ..*errand })?;
    Ok(String::from_utf8_lossy(&seen.stdout).trim().to_owned())
}

fn download(url: &str, dir: &Path, errand: &Errand<'_>) -> Result<PathBuf, FetchError> {
    let archive = errand.scratch.join("buildpack.tgz");
    let options = [
        "--disable",
        "--fail",
        "--silent",
        "--show-error",
        "--location",
        "--globoff",
        "--proto",
        "=https,file",
        "--proto-redir",
        "=https",
        "--max-redirs",
        "5",
        "--max-filesize",
        ARCHIVE_BYTES_MAX,
        "--output",
    ];
    let mut args: Vec<OsString> = options.iter().map(OsString::from).collect();
    args.extend([archive.clone().into(), "--".into(), url.into()]);
    run("curl", args, errand.scratch, errand)?;
    let file = fs::File::open(&archive).map_err(FetchError::Open)?;
    unpack(file, dir, Layout::Tree, errand.limits, None).map_err(FetchError::Unpack)?;
    fs::remove_file(&archive).map_err(FetchError::Open)?;
    Ok(inner_folder(dir))
}

/// Archives of a repository wrap it into one folder; archives of a registry do not.
fn inner_folder(dir: &Path) -> PathBuf {
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    match (entries.next(), entries.next()) {
        (Some(only), None) if only.path().join("bin").is_dir() => only.path(),
        _ => dir.to_owned(),
    }
}

fn run(
    program: &'static str,
    args: Vec<OsString>,
    cwd: &Path,
    errand: &Errand<'_>,
) -> Result<Captured, FetchError> {
    let seen = Program { path: Path::new(program), args, cwd, env: errand.env }
        .capture(errand.watch, OUTPUT_BYTES_MAX)
        .map_err(|source| FetchError::Run { program, source })?;
    match seen.ending {
        Ending::Exited(0) => Ok(seen),
        Ending::TimedOut => Err(FetchError::TimedOut),
        Ending::Cancelled => Err(FetchError::Cancelled),
        Ending::Exited(_) | Ending::Signaled(_) => {
            let said = String::from_utf8_lossy(&seen.stderr);
            let said = said.lines().rev().find(|line| !line.trim().is_empty());
            let said = crate::transcript::plain(said.unwrap_or("nothing"));
            Err(FetchError::Refused { program, said })
        }
    }
}

impl FetchError {
    /// With the URL as it may be shown: git repeats it, password and all.
    fn without(self, url: &str, shown: &str) -> Self {
        match self {
            Self::Refused { program, said } => {
                Self::Refused { program, said: said.replace(url, shown) }
            }
            other => other,
        }
    }

    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => {
                "Use one of those names, or the https:// URL of the buildpack's git repository."
            }
            Self::Refused { .. } => {
                "Check the URL and its #ref; the repository must be readable without a password."
            }
            Self::TimedOut => "Push again; if it stays slow, name the URL of a .tgz instead.",
            Self::Unpack(_) => "Check that the URL is a .tgz of a buildpack.",
            Self::Copy(_) | Self::Run { .. } | Self::Open(_) | Self::Cancelled => "Push again.",
        }
    }
}
