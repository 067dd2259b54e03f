//! Buildpacks out of tarballs: downloaded with limits, known by their digest.

use super::fetch::{Errand, FetchError, run};
use crate::digest;
use lathe_slug::{Layout, unpack};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// An unpacked archive.
pub(super) struct Downloaded {
    /// The buildpack's folder: the one given, or the one inside it that wraps everything.
    pub(super) dir: PathBuf,
    /// SHA-256 of the archive as it came.
    pub(super) digest: String,
}

/// Unpacks the archive at `url` into the new folder `dir`; with `pin`, only the one of that digest,
/// which is fetched once and kept.
pub(super) fn download(
    url: &str,
    pin: Option<&str>,
    dir: &Path,
    errand: &Errand<'_>,
) -> Result<Downloaded, FetchError> {
    let kept = pin.map(|pin| errand.kept.join(format!("{pin}.tgz")));
    if let (Some(kept), Some(pin)) = (&kept, pin)
        && digest_of(kept).is_ok_and(|digest| digest == pin)
    {
        return open(kept, dir, errand);
    }
    let arrived = errand.scratch.join("buildpack.tgz");
    curl(url, &arrived, errand)?;
    let digest = digest_of(&arrived)?;
    if let Some(pin) = pin
        && pin != digest
    {
        return Err(FetchError::OtherThanPinned { pin: pin.to_owned(), digest });
    }
    let opened = open(&arrived, dir, errand)?;
    match kept {
        Some(kept) => {
            fs::create_dir_all(errand.kept).map_err(FetchError::Keep)?;
            fs::rename(&arrived, kept).map_err(FetchError::Keep)?;
        }
        None => fs::remove_file(&arrived).map_err(FetchError::Open)?,
    }
    Ok(opened)
}

fn curl(url: &str, to: &Path, errand: &Errand<'_>) -> Result<(), FetchError> {
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
    ];
    let mut args: Vec<OsString> = options.iter().map(OsString::from).collect();
    args.push(errand.bytes_max.to_string().into());
    args.extend(["--output".into(), to.into(), "--".into(), url.into()]);
    run("curl", args, errand.scratch, errand).map(drop)
}

fn open(archive: &Path, dir: &Path, errand: &Errand<'_>) -> Result<Downloaded, FetchError> {
    let digest = digest_of(archive)?;
    let file = File::open(archive).map_err(FetchError::Open)?;
    unpack(file, dir, Layout::Tree, errand.limits, None).map_err(FetchError::Unpack)?;
    Ok(Downloaded { dir: inner_folder(dir), digest })
}

fn digest_of(archive: &Path) -> Result<String, FetchError> {
    File::open(archive).and_then(digest::of_bytes).map_err(FetchError::Open)
}

/// Archives of a repository wrap it into one folder; archives of a registry do not.
fn inner_folder(dir: &Path) -> PathBuf {
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    match (entries.next(), entries.next()) {
        (Some(only), None) if only.path().join("bin").is_dir() => only.path(),
        _ => dir.to_owned(),
    }
}
