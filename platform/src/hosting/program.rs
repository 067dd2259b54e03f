//! A version's program on disk: unpacked from its slug, there whole and for good or not at all.

use super::{Version, dir, seat};
use crate::config::Config;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lathe_slug::{Layout, Limits, SlugId, Store, StoreError, UnpackError};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Where a slug's files are in its tree.
const APP: &str = "app";
const PIECE_BYTES: usize = 128 << 10;
/// Beside them: what the version's programs were when they were laid out.
const SEALS: &str = "programs.json";

/// The SHA-256 of each program in base64, by where it is in the slug.
type Seals = BTreeMap<PathBuf, String>;

/// Why a version cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("its slug cannot be read")]
    Slug(#[from] StoreError),
    #[error("its slug cannot be unpacked")]
    Unpack(#[from] UnpackError),
    #[error("it cannot be put in place")]
    Place(#[source] io::Error),
    #[error("its slug has no file {}", program.display())]
    Absent { program: PathBuf },
}

/// Unpacks the version's slug, which is checked while it is read, unless that was done.
pub(super) fn lay_out(
    data: &Path,
    version: &Version,
    slugs: &Store,
    limits: &Limits,
) -> Result<PathBuf, ProgramError> {
    let place = tree(data, version.slug);
    if let Ok(program) = whole(data, version) {
        return Ok(program);
    }
    // Whatever one that was killed here has left goes with its folder.
    let room = dir(data).join("unpacking");
    let temp = room.join("slug");
    remove(&room).and_then(|()| fs::create_dir_all(&room)).map_err(ProgramError::Place)?;
    lathe_slug::unpack(slugs.open_slug(&version.slug)?, &temp, Layout::Slug, limits, None)?;
    // Another version of the same slug may run other programs of it.
    let others = seals(&place).unwrap_or_default().unwrap_or_default();
    let programs = version.programs().chain(others.keys().map(PathBuf::as_path));
    seal(&temp, programs).and_then(|()| sync(&temp)).map_err(ProgramError::Place)?;
    // What is there is not as it was any more.
    remove(&place).map_err(ProgramError::Place)?;
    lathe_slug::fs::publish(&temp, &place).map_err(ProgramError::Place)?;
    remove(&room).map_err(ProgramError::Place)?;
    whole(data, version)
}

/// With each of its programs; gives the platform's.
fn whole(data: &Path, version: &Version) -> Result<PathBuf, ProgramError> {
    let there = |program: &Path| {
        let absent = || ProgramError::Absent { program: program.to_owned() };
        find(data, version, program).ok_or_else(absent)
    };
    version.router.as_deref().map(there).transpose()?;
    there(version.keeper())?;
    there(&version.program)
}

/// Has the version laid out anew the next time.
pub(super) fn clear(data: &Path, version: &Version) -> io::Result<()> {
    remove(&tree(data, version.slug))
}

/// Where a program of a version is that was laid out: a file, not a link to somebody else's, and what it
/// was when it came out of its slug.
pub(super) fn find(data: &Path, version: &Version, program: &Path) -> Option<PathBuf> {
    let tree = tree(data, version.slug);
    let path = tree.join(APP).join(program);
    if !fs::symlink_metadata(&path).ok()?.is_file() {
        return None;
    }
    match seals(&tree).ok()? {
        Some(seals) => (*seals.get(program)? == digest(&path).ok()?).then_some(path),
        // An older version has laid it out.
        None => Some(path),
    }
}

fn seals(tree: &Path) -> io::Result<Option<Seals>> {
    match fs::read(tree.join(SEALS)) {
        Ok(seals) => Ok(Some(serde_json::from_slice(&seals)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes down what each program is, as long as it is just that.
fn seal<'a>(tree: &Path, programs: impl Iterator<Item = &'a Path>) -> io::Result<()> {
    let mut seals = Seals::new();
    for program in programs {
        let path = tree.join(APP).join(program);
        if fs::symlink_metadata(&path).is_ok_and(|about| about.is_file()) {
            seals.insert(program.to_owned(), digest(&path)?);
        }
    }
    fs::write(tree.join(SEALS), serde_json::to_vec_pretty(&seals)?)
}

fn digest(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(BASE64_STANDARD.encode(hasher.finalize())),
            bytes => hasher.update(&piece[..bytes]),
        }
    }
}

/// The router's program of the version for which this platform was started; none when that has none
/// of its own, or it is gone.
pub fn of_router(config: &Config) -> Option<PathBuf> {
    let seat = seat::read(&config.data).ok()?;
    let version =
        seat.version().filter(|version| Some(&version.release) == config.kept.as_ref())?;
    find(&config.data, version, version.router.as_deref()?)
}

/// Removes the trees of all versions but these.
pub(super) fn remove_others(data: &Path, keep: &[&Version]) -> io::Result<()> {
    for entry in fs::read_dir(dir(data))? {
        let entry = entry?;
        let name = entry.file_name();
        let slug = name.to_str().and_then(|name| name.parse::<SlugId>().ok());
        if slug.is_some_and(|slug| keep.iter().all(|version| version.slug != slug)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn tree(data: &Path, slug: SlugId) -> PathBuf {
    dir(data).join(slug.to_string())
}

/// Whatever is there, or nothing.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Unlike the slugs of dynos, it has to be there when the machine starts again.
fn sync(root: &Path) -> io::Result<()> {
    for entry in WalkDir::new(root).contents_first(true) {
        let entry = entry.map_err(io::Error::from)?;
        if !entry.path_is_symlink() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    Ok(())
}
