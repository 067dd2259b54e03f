//! Gets a buildpack from wherever it is named to be, into a folder of our own.

use super::archive::{Downloaded, download};
use super::{Buildpack, Catalogue, Reference, git};
use crate::digest;
use crate::program::{Captured, Ending, Program, Watch};
use crate::source::copy_tree;
use crate::transcript::plain;
use lathe_slug::{UnpackError, UnpackLimits};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// What a program dies of that writes more than its limit (setrlimit(2), `RLIMIT_FSIZE`).
const SIGXFSZ: i32 = 25;
const DIED_OF_SIGXFSZ: &str = "died of signal 25";
/// curl's exit status for an announced length over its limit (curl(1), EXIT CODES).
const CURLE_FILESIZE_EXCEEDED: i32 = 63;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("it is not known here; there are {known}")]
    Unknown { known: String },
    #[error("copying the folder failed")]
    Copy(#[source] io::Error),
    #[error("it could not be kept for later builds")]
    Keep(#[source] io::Error),
    #[error("could not run {program}")]
    Run {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{program} said: {said}")]
    Refused { program: &'static str, said: String },
    #[error("it did not arrive within {} seconds (build.fetch_timeout)", limit.as_secs())]
    TimedOut { limit: Duration },
    #[error("it is larger than {max} bytes (build.fetch_max)")]
    TooLarge { max: u64 },
    #[error("the build was cancelled")]
    Cancelled,
    #[error("the archive could not be read")]
    Open(#[source] io::Error),
    #[error("the archive could not be unpacked")]
    Unpack(#[source] UnpackError),
    #[error("the archive has the SHA-256 {digest}, not the pinned {pin}")]
    OtherThanPinned { pin: String, digest: String },
}

/// What fetching needs beside the reference.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    pub(crate) env: &'a BTreeMap<String, OsString>,
    pub(crate) watch: &'a Watch,
    /// How long one buildpack may take to arrive.
    pub(crate) limit: Duration,
    /// Of any file that arrives.
    pub(crate) bytes_max: u64,
    /// A folder for downloads, on the same disk.
    pub(crate) scratch: &'a Path,
    /// How much an archive may hold.
    pub(crate) limits: &'a UnpackLimits,
    /// A folder that lasts from one build of the app to the next.
    pub(crate) kept: &'a Path,
}

/// Brings the buildpack to the new folder `dir`, or to one inside it.
pub(crate) fn fetch(
    reference: &Reference,
    catalogue: &Catalogue,
    dir: &Path,
    errand: &Errand<'_>,
) -> Result<Buildpack, FetchError> {
    let errand = Errand { watch: &errand.watch.at_most(errand.limit), ..*errand };
    let name = reference.to_string();
    let resolved = catalogue.resolve(reference).ok_or_else(|| {
        let known = catalogue.order().join(", ");
        FetchError::Unknown { known }
    })?;
    let shown = resolved.to_string();
    let mut pack = Buildpack {
        url: resolved.is_remote().then(|| shown.clone()),
        pinned: name.clone(),
        name,
        commit: None,
        digest: String::new(),
        dir: dir.to_owned(),
    };
    match &resolved {
        Reference::Name(_) => return Err(FetchError::Unknown { known: shown }),
        Reference::Folder(folder) => {
            copy_tree(folder, dir).map_err(FetchError::Copy)?;
            pack.digest = digest::of_tree(dir).map_err(FetchError::Copy)?;
        }
        Reference::Git { url, rev } => {
            let rev = rev.as_deref().unwrap_or("HEAD");
            let commit = git::check_out(url, rev, dir, &errand);
            let commit = commit.map_err(|error| error.without(url, &shown))?;
            pack.digest = digest::of_tree(dir).map_err(FetchError::Copy)?;
            pack.pinned = resolved.pinned_to(&commit).to_string();
            pack.commit = Some(commit);
        }
        Reference::Tarball { url, digest } => {
            let downloaded = download(url, digest.as_deref(), dir, &errand);
            let Downloaded { dir, digest } =
                downloaded.map_err(|error| error.without(url, &shown))?;
            pack.pinned = resolved.pinned_to(&digest).to_string();
            (pack.dir, pack.digest) = (dir, digest);
        }
    }
    Ok(pack)
}

/// Runs one of the two programs that fetch, within what is left of the time for it. The kernel holds
/// the size of what it writes: neither program counts what comes without its length being announced.
pub(super) fn run(
    program: &'static str,
    args: Vec<OsString>,
    cwd: &Path,
    errand: &Errand<'_>,
) -> Result<Captured, FetchError> {
    let max = errand.bytes_max;
    let mut limited = vec![format!("--fsize={max}").into(), "--core=0".into(), "--".into()];
    limited.push(program.into());
    limited.extend(args);
    let seen = Program { path: Path::new("prlimit"), args: limited, cwd, env: errand.env }
        .capture(errand.watch, OUTPUT_BYTES_MAX)
        .map_err(|source| FetchError::Run { program, source })?;
    let stderr = String::from_utf8_lossy(&seen.stderr);
    match seen.ending {
        Ending::Exited(0) => Ok(seen),
        Ending::TimedOut => Err(FetchError::TimedOut { limit: errand.limit }),
        Ending::Cancelled => Err(FetchError::Cancelled),
        Ending::Signaled(SIGXFSZ) | Ending::Exited(CURLE_FILESIZE_EXCEEDED) => {
            Err(FetchError::TooLarge { max })
        }
        // Of a program that git itself had started.
        Ending::Exited(_) if stderr.contains(DIED_OF_SIGXFSZ) => Err(FetchError::TooLarge { max }),
        Ending::Exited(_) | Ending::Signaled(_) => {
            Err(FetchError::Refused { program, said: telling_line(&stderr) })
        }
    }
}

/// What git calls fatal, before it goes on with good advice; or else the last line.
fn telling_line(stderr: &str) -> String {
    let fatal = stderr.lines().find(|line| line.starts_with("fatal: "));
    let last = || stderr.lines().rev().find(|line| !line.trim().is_empty());
    plain(fatal.or_else(last).unwrap_or("nothing"))
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
                "Use one of those names, or the https:// URL of the buildpack's git repository. \
                 The operator may add names: build.registry."
            }
            Self::Refused { said, .. } if said.contains("resolve host") => {
                "That host cannot be reached from here: name another URL, or let the operator \
                 keep a copy of the buildpack (build.registry)."
            }
            Self::Refused { .. } => {
                "Check the URL and its #ref; the repository must be readable without a password."
            }
            Self::TimedOut { .. } => {
                "Push again; if it stays slow, name the URL of a .tgz instead, or let the operator \
                 keep a copy of the buildpack (build.registry)."
            }
            Self::TooLarge { .. } => {
                "Check that the URL is that of a buildpack; its operator may raise build.fetch_max."
            }
            Self::Unpack(_) => "Check that the URL is a .tgz of a buildpack.",
            Self::OtherThanPinned { .. } => {
                "What is at the URL has changed: look at it, and pin it anew if you trust it."
            }
            Self::Copy(_) => {
                "Everybody has to be able to read the buildpack's folder, as builds run as a user of \
                 their own: its operator may `chmod -R a+rX` it."
            }
            Self::Keep(_) | Self::Run { .. } | Self::Open(_) | Self::Cancelled => "Push again.",
        }
    }
}
