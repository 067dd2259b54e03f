//! Makes a store's folder whole again after whatever happened to the process before.

use super::{manifest_path, slug_path};
use crate::inspect::inspect;
use crate::{Limits, Manifest, SlugId, fs};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub(super) fn incoming(dir: &Path) -> PathBuf {
    dir.join("incoming")
}

/// Creates what is missing and removes what no one will finish.
pub(super) fn prepare(dir: &Path, limits: &Limits) -> io::Result<()> {
    std::fs::create_dir_all(incoming(dir))?;
    remove_abandoned(&incoming(dir))?;
    let ids = ids(dir)?;
    remove_orphans(dir, &ids)?;
    for id in &ids {
        restore_manifest(dir, id, limits)?;
    }
    fs::sync_dir(dir)
}

/// The slugs in the folder, by their names.
pub(super) fn ids(dir: &Path) -> io::Result<BTreeSet<SlugId>> {
    let mut ids = BTreeSet::new();
    for entry in std::fs::read_dir(dir)? {
        ids.extend(id_of(&entry?.path(), "tgz"));
    }
    Ok(ids)
}

/// Arrivals that were cut short. Those that are still written hold a lock.
fn remove_abandoned(incoming: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(incoming)? {
        let path = entry?.path();
        let locked = match File::open(&path) {
            Ok(file) => flock(file, FlockOperation::NonBlockingLockExclusive).is_err(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if !locked {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Manifests whose slug never came, and writes of manifests that were cut short.
fn remove_orphans(dir: &Path, ids: &BTreeSet<SlugId>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let orphan = id_of(&path, "json").is_some_and(|id| !ids.contains(&id));
        let cut_short =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".write-"));
        if orphan || cut_short {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Slugs came without their manifest from another hand, or a bad disk: it can be had from the slug. What
/// is no slug is put aside, where nothing will find it by its name and whoever looks still can.
fn restore_manifest(dir: &Path, id: &SlugId, limits: &Limits) -> io::Result<()> {
    let manifest = std::fs::read(manifest_path(dir, id)).ok();
    let manifest = manifest.and_then(|json| serde_json::from_slice::<Manifest>(&json).ok());
    if manifest.is_some_and(|manifest| manifest.id == *id) {
        return Ok(());
    }
    let slug = slug_path(dir, id);
    match inspect(File::open(&slug)?, limits) {
        Ok(manifest) if manifest.id == *id => {
            fs::atomic_write(&manifest_path(dir, id), &serde_json::to_vec(&manifest)?, 0o644)
        }
        _ => std::fs::rename(&slug, slug.with_extension("damaged")),
    }
}

fn id_of(path: &Path, extension: &str) -> Option<SlugId> {
    if path.extension() != Some(OsStr::new(extension)) {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
