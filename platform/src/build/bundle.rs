//! The buildpacks that come with the program, laid out as files for builds to mount.

use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../buildpacks"]
struct Bundle;

#[derive(Debug, thiserror::Error)]
#[error("{} could not be written", path.display())]
pub struct BundleError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Lays the bundle out below `dir`, in a folder named by its digest, unless it is there already.
/// Bundles of other versions are removed: no build outlives the platform it began under.
pub fn lay_out(dir: &Path) -> Result<PathBuf, BundleError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| BundleError { path, source }
    };
    let files = files();
    let place = dir.join(digest(&files));
    std::fs::create_dir_all(dir).map_err(error(dir))?;
    for entry in std::fs::read_dir(dir).map_err(error(dir))? {
        let path = entry.map_err(error(dir))?.path();
        if path != place {
            std::fs::remove_dir_all(&path).map_err(error(&path))?;
        }
    }
    if place.is_dir() {
        return Ok(place);
    }
    let new = dir.join("new");
    for (name, content) in &files {
        let path = new.join(name);
        write(&path, content).map_err(error(&path))?;
    }
    for entry in walkdir::WalkDir::new(&new).into_iter().flatten() {
        if entry.file_type().is_dir() {
            lathe_slug::fs::sync_dir(entry.path()).map_err(error(entry.path()))?;
        }
    }
    lathe_slug::fs::publish(&new, &place).map_err(error(&place))?;
    Ok(place)
}

/// Synced, so that a bundle that is there is there as a whole, also after a power cut.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = std::fs::File::create_new(path)?;
    io::Write::write_all(&mut file, content)?;
    // Embedding keeps no modes. A program says so in its first two bytes.
    let mode = if content.starts_with(b"#!") { 0o755 } else { 0o644 };
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Path and content, sorted, without the buildpacks' fixture apps.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = Bundle::iter()
        .filter(|name| !name.contains("/test/"))
        .filter_map(|name| {
            Bundle::get(&name).map(|file| (name.into_owned(), file.data.into_owned()))
        })
        .collect();
    files.sort();
    files
}

fn digest(files: &[(String, Vec<u8>)]) -> String {
    let mut hash = Sha256::new();
    for (name, content) in files {
        for part in [name.as_bytes(), content] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write;
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laid_out_once_and_programs_can_run() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("0ld/python")).unwrap();
        let place = lay_out(dir.path()).unwrap();
        assert_eq!(lay_out(dir.path()).unwrap(), place);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let mode = |path: &str| place.join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("procfile/bin/detect"), mode("order")), (0o755, 0o644));
        assert!(!place.join("procfile/test").exists());
        assert_eq!(mode("python/bin/test"), 0o755);
    }
}
